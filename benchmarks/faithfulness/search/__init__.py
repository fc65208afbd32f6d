"""Which rule set is the most faithful? Chosen on one half, told on the other."""
