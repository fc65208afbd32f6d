"""Leemann et al. 2025: models that are linear or a SLALOM, real texts, their claims."""
