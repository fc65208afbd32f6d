"""SLALOM beside the published fits and additive surrogates."""
