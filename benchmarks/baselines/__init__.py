"""What the explanations that read attention cost, and the exact limit of LIME."""
