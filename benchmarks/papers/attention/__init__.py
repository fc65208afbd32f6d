"""Lopardo et al. 2024: their classifier trained here, their experiments and claims."""
