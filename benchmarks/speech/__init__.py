"""Which part of a sound made a model write a word."""
