"""Tokenizers, model folders and data files."""
