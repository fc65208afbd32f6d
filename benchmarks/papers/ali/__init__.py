"""Ali et al. 2022: LRP with the AH- and the LN-rule, by their own experiments."""
