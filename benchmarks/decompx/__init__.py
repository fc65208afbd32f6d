"""What DecompX costs: by backward passes, and by forward decomposition."""
