"""What relevance costs beside a forward pass and plain Gradient x Input."""
