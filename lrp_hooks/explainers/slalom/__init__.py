"""SLALOM: a softmax-linked additive log-odds model as a Transformer's surrogate.

T. Leemann, A. Fastowski, B. Pfeiffer, G. Kasneci, "Attention Mechanisms Don't Learn
Additive Models: Rethinking Feature Importance for Transformers", TMLR 2025.
https://arxiv.org/abs/2405.13536
"""

from .explainer import Slalom
from .explanation import SlalomExplanation, SlalomWarning
from .linear import LinearSurrogate
from .recovery import Recovery, recover
from .surrogate import Surrogate
from .vocabulary import fit_vocabulary

__all__ = [
    "LinearSurrogate",
    "Recovery",
    "Slalom",
    "SlalomExplanation",
    "SlalomWarning",
    "Surrogate",
    "fit_vocabulary",
    "recover",
]
