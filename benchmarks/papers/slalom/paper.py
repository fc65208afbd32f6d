"""What Leemann et al. print, on their models: to stand beside ours."""

from __future__ import annotations

__all__ = ["LINEAR_DATA", "REAL", "REASONS", "RUNTIME", "SLALOM_DATA", "TIMED"]

LINEAR_DATA = {
    "1": {"linear": 0.245, "GAM": 0.574, "SLALOM": 0.079},
    "2": {"linear": 0.296, "GAM": 0.622, "SLALOM": 0.157},
    "4": {"linear": 0.641, "GAM": 0.948, "SLALOM": 0.345},
    "8": {"linear": 0.138, "GAM": 0.165, "SLALOM": 0.000},
}
"""BERT by layers: mean squared errors (of 12 layers training collapsed)."""
SLALOM_DATA = {"16": 0.048, "32": 0.071, "64": 0.079, "200": 0.144}
"""By words of the vocabulary: what they plot, after 100 epochs."""
REAL = {
    "naive_bayes": {
        "fidel, v": 0.475,
        "fidel, lin": 0.474,
        "eff, v": 0.619,
        "eff, lin": 0.626,
        "LIME": 0.616,
        "SHAP": 0.554,
        "LRP": 0.639,
    },
    "people": {
        "eff, v": 0.786,
        "eff, lin": 0.801,
        "LIME": 0.805,
        "SHAP": 0.800,
        "LRP": 0.813,
    },
    "insertion": {
        "fidel, v": 0.025,
        "fidel, lin": 0.023,
        "eff, v": 0.031,
        "eff, lin": 0.031,
        "LIME": 0.024,
        "SHAP": 0.026,
        "LRP": 0.030,
    },
    "deletion": {
        "fidel, v": 0.683,
        "fidel, lin": 0.687,
        "eff, v": 0.801,
        "eff, lin": 0.801,
        "LIME": 0.663,
        "SHAP": 0.854,
        "LRP": 0.788,
    },
}
"""BERT; of deletion the mean of three models.

IG and Grad are left out, as their columns may be exchanged. Which of its fits SLALOM's
agreement with people is of is not known here: it stands at eff.
"""
RUNTIME = {
    "eff": {"1000": 0.42, "2000": 0.80, "5000": 2.03, "10000": 4.13},
    "fidel": {"1000": 0.74, "2000": 1.42, "5000": 3.77, "10000": 7.95},
    "lime": {"1000": 0.80, "2000": 1.58, "5000": 3.93, "10000": 8.04},
    "kernel-shap": {"1000": 2.35, "2000": 4.62, "5000": 11.56, "10000": 23.08},
}
"""Seconds, DistilBERT of two layers on a GPU."""
TIMED = {
    "eff": "SLALOM-eff",
    "fidel": "SLALOM-fidel",
    "slalom": "SLALOM, default",
    "lime": "LIME",
    "kernel-shap": "KernelSHAP",
}
REASONS = (
    {
        "better": ["linear"],
        "worse": ["GAM"],
        "why": "GAM is by ridge regression here, by Lasso in the paper, which sets "
        "most of its weights to 0",
    },
    {
        "data": ["imdb, 500 queries", "yelp, 500 queries"],
        "better": ["fidel, v", "fidel, lin"],
        "why": "500 queries, where the paper has 5,000, and another model: deletions "
        "of few tokens alone leave values and importances unidentified",
    },
    {
        "data": ["imdb, 500 queries", "yelp, 500 queries"],
        "why": "500 queries, where the paper has 5,000, and another model",
    },
    {
        "data": ["imdb, 5000 queries", "yelp, 5000 queries"],
        "why": "another model, four layers that learned from SST-2's sentences",
    },
)
"""Why published orderings are not the same here, see `papers.reasons`."""
