"""The papers' own experiments, at their own protocols, beside what they published."""
