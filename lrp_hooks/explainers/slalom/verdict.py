"""What a surrogate is worth, in numbers and in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .linear import LinearFit
from .validation import Heldout

__all__ = ["errors", "verdict"]


def errors(heldout: Heldout, linear: Mapping[str, LinearFit]) -> dict[str, Any]:
    """Return the errors by the names of ``SlalomExplanation.fit``.

    Args:
        heldout: What the surrogate predicts.
        linear: Linear regressions by kind.

    Returns:
        Plain numbers.
    """
    total = heldout.fidelity
    report: dict[str, Any] = {
        "heldout_error": total.error,
        "constant_error": total.constant_error,
        "r2": total.r2,
    }
    for name, short in (("deletion", False), ("short", True)):
        part = heldout.of_kind(short=short)
        if len(part.outputs):
            report[f"{name}_error"] = part.fidelity.error
        if name in linear:
            report[f"linear_{name}_error"] = linear[name].error
    return report


def verdict(
    heldout: Heldout, linear: Mapping[str, LinearFit], several: bool, informative: bool
) -> str:
    """Say in plain words what the surrogate is worth, and whether a line is better.

    Args:
        heldout: What the surrogate predicts.
        linear: Linear regressions by kind.
        several: Whether the text has more than one distinct token.
        informative: Whether the surrogate beats a constant.

    Returns:
        One sentence or two.
    """
    if not several:
        return _ALONE
    return " ".join([_said(heldout, informative), *_linear_wins(heldout, linear)])


_ALONE = (
    "The text has only one distinct token: its value is the text's own log-odds, and "
    "no surrogate has anything to compare it with."
)
_NAMES = {"deletion": "deletions", "short": "short sequences"}


def _said(heldout: Heldout, informative: bool) -> str:
    total = heldout.fidelity
    if not informative:
        return (
            "No SLALOM that was fitted predicts perturbations of this text better than "
            f"a constant does (its mean squared error is {total.constant_error:.3g}), "
            "so there are no scores to show. More n_samples, with fit='sgd' a larger "
            "learning_rate or more epochs, may help."
        )
    if total.r2 <= 0:
        return (
            "The surrogate predicts the perturbations that it was fitted to, but over "
            "both deletions and short sequences it is worse than a constant (held-out "
            f"R2 {total.r2:.2f}): its values and importances are not identified."
        )
    return (
        f"The surrogate explains {total.r2:.0%} of the variance of perturbations that "
        "it was not fitted to."
    )


def _linear_wins(heldout: Heldout, linear: Mapping[str, LinearFit]) -> list[str]:
    """Name the kinds that a linear regression predicts better."""
    said = []
    for name, fit in linear.items():
        found = heldout.of_kind(short=name == "short").fidelity
        if fit.error < min(found.error, found.constant_error):
            said.append(f"{_NAMES[name]} ({fit.error:.3g} against {found.error:.3g})")
    if not said:
        return []
    return [
        f"Linear regression predicts {' and '.join(said)} better, by mean squared "
        "error: .linear has it."
    ]
