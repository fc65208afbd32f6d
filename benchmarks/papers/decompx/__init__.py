"""DecompX, Modarressi et al. 2023, by the paper's own experiments."""
