"""Explainers, one file or folder a system; each is imported when it is asked for.

To add one, write a subclass of ``Explainer`` and give it a line in the table below.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError
from ..support.suggest import did_you_mean

if TYPE_CHECKING:
    from .base import Explainer

__all__ = ["COMPARED", "Explainer", "named", "names"]

# The method's name, which is its class name in snake case: the module, the class.
_TABLE = {
    "lrp": ("lrp", "LRP"),
    "gradient_x_input": ("gradient_x_input", "GradientXInput"),
    "decompx": ("decompx", "DecompX"),
    "attention_last": ("attention", "AttentionLast"),
    "attention_rollout": ("attention", "AttentionRollout"),
    "attention_flow": ("attention_flow", "AttentionFlow"),
    "generic_attention": ("generic_attention", "GenericAttention"),
    "attention_norms": ("vector_norms", "AttentionNorms"),
    "globenc": ("vector_norms", "GlobEnc"),
    "alti": ("vector_norms", "Alti"),
    "value_zeroing": ("vector_norms", "ValueZeroing"),
    "slalom": ("slalom", "Slalom"),
    "saliency": ("gradients", "Saliency"),
    "integrated_gradients": ("gradients", "IntegratedGradients"),
    "smooth_grad": ("gradients", "SmoothGrad"),
    "leave_one_out": ("perturbation", "LeaveOneOut"),
    "lime": ("perturbation", "Lime"),
    "kernel_shap": ("perturbation", "KernelShap"),
    "shapley_value_sampling": ("perturbation", "ShapleyValueSampling"),
    "random_baseline": ("random_baseline", "RandomBaseline"),
}

COMPARED = (
    "lrp",
    "gradient_x_input",
    "integrated_gradients",
    "decompx",
    "attention_last",
    "attention_rollout",
    "generic_attention",
    "leave_one_out",
)
"""Methods of every kind that need no more than some tens of model calls."""


def names() -> tuple[str, ...]:
    """List the methods.

    Returns:
        Their names, as ``explain(..., method=name)`` takes them.
    """
    return tuple(_TABLE)


def named(name: str) -> type[Explainer]:
    """Look a method up.

    Args:
        name: One of ``names()``.

    Returns:
        The explainer's class.

    Raises:
        ArgumentError: If there is none of that name; the message lists all.
    """
    if not isinstance(name, str):
        raise ArgumentError(
            f"method is a {type(name).__name__}; it must be the name of a method, such "
            "as 'lrp'. Pass a tokenizer as tokenizer=, a target as target=."
        )
    known = {key.replace("_", ""): key for key in _TABLE}  # glob_enc is globenc
    key = known.get(name.replace("_", ""))
    if key is None:
        raise ArgumentError(
            f"method={name!r} is no explainer; it must be one of "
            f"{', '.join(map(repr, _TABLE))}.{did_you_mean(name, _TABLE)}"
        )
    found: type[Explainer] = _load(*_TABLE[key])
    return found


def __getattr__(name: str) -> Any:
    for module, class_name in (("base", "Explainer"), *_TABLE.values()):
        if class_name == name:
            return _load(module, class_name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(class_name for _, class_name in _TABLE.values())})


def _load(module: str, class_name: str) -> Any:
    return getattr(import_module(f".{module}", __name__), class_name)
