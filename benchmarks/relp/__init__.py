"""Relevance patching beside attribution patching, against activation patching."""
