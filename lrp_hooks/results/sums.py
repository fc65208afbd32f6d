"""Which scores are parts of an output, and sum to it with what is left of it."""

from __future__ import annotations

import warnings

from ..errors import AdditivityWarning, ArgumentError
from .explanation_view import Explained

__all__ = ["check_sums"]

_SUMMING = (
    "decompx",
    "integrated_gradients",
    "kernel_shap",
    "shapley_value_sampling",
)
"""Methods whose scores sum to what an output has over a baseline, without a ledger."""
_ADVICE = (
    "Take a method whose scores add up: 'lrp', 'gradient_x_input', "
    f"{', '.join(map(repr, _SUMMING[:-1]))} or {_SUMMING[-1]!r}"
)


def check_sums(explanation: Explained, wanted: str) -> None:
    """Refuse scores of no class as parts of an output, and warn of what is no sum.

    Args:
        explanation: Of any explainer.
        wanted: What takes scores for parts of the output.

    Raises:
        ArgumentError: If its scores are the same whatever output is asked about.
    """
    if not explanation.meta.get("class_specific", True):
        raise ArgumentError(
            f"{wanted}() takes scores for parts of the output, and those of "
            f"{explanation.method!r} are of no class: they are the same whatever is "
            f"explained. {_ADVICE}; or use to_dataframe()."
        )
    if not _adds_up(explanation):
        warnings.warn(
            f"the scores of {explanation.method!r} are not made to sum to the output: "
            "the base value is what they leave of it, not a model's output at a "
            f"baseline. {_ADVICE}.",
            AdditivityWarning,
            stacklevel=3,
        )


def _adds_up(explanation: Explained) -> bool:
    """Tell whether what scores leave of the output has a meaning of its own."""
    if getattr(explanation, "ledger", None) is not None:
        return True
    made = explanation.meta.get("additive", True)
    return bool(made) and explanation.method in _SUMMING
