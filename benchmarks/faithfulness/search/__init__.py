"""Which rule set is the most faithful? Chosen on one half of the data, told on the other."""
