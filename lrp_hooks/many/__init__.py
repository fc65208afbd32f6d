"""Explanations of a whole data set: portions, workers, files that take up a run."""
