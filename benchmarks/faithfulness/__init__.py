"""Which explanations name the inputs that a model needs, in three domains."""
