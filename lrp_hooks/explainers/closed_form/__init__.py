"""Closed forms: explanations of a one-layer attention classifier, as formulas.

Lopardo, Precioso and Garreau, "Attention Meets Post-hoc Interpretability: A
Mathematical Perspective", ICML 2024: for this network attention, gradient and LIME are
known exactly, without a backward pass and without a sample, so what tells them apart is
seen and not estimated.

Index conventions: h head, t position of ``T``, j word of ``d``; ``D`` is the embedding
width. Position 0 holds the class token, whose query alone matters. A word is a distinct
id other than the class token and the unknown token, wherever it occurs.
"""

from .classifier import CLASS_TOKEN, UNKNOWN_TOKEN, AttentionClassifier
from .files import document, from_state_dict, load_classifier, save_classifier
from .gradients import attention, gradient
from .lime import lime_approximation, lime_limit
from .quantitative import QuantGradient, QuantLime, quant_gradient, quant_lime
from .verify import MOST_WORDS, Check, Verification, verify_closed_forms

__all__ = [
    "CLASS_TOKEN",
    "MOST_WORDS",
    "UNKNOWN_TOKEN",
    "AttentionClassifier",
    "Check",
    "QuantGradient",
    "QuantLime",
    "Verification",
    "attention",
    "document",
    "from_state_dict",
    "gradient",
    "lime_approximation",
    "lime_limit",
    "load_classifier",
    "quant_gradient",
    "quant_lime",
    "save_classifier",
    "verify_closed_forms",
]
