"""Train the small models that the benchmark explains."""
