"""What an answer drew on: which method finds the source, at what cost."""
