"""Which of transformers' architectures are covered, and where the others leak."""
