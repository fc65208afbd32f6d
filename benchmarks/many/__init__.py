"""Texts a second and memory of `explain_many`, beside a plain Gradient x Input loop."""
