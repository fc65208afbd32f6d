"""Digits as graphs of superpixels, and a graph Transformer that reads them."""
