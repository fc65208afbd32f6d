"""Faithfulness on texts: the papers' protocols, all methods, both sign conventions."""
