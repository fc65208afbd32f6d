"""Methods as the command line spells them: ``METHOD:RULES@BIAS``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..engine.ruleset import RuleSet
from ..errors import ArgumentError
from ..support.suggest import did_you_mean
from .options import BIASES

__all__ = ["methods_named"]


def methods_named(spelled: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read methods.

    Args:
        spelled: ``METHOD``, ``METHOD:RULES``, ``METHOD@BIAS`` or ``METHOD:RULES@BIAS``.

    Returns:
        What was spelled, as the label, with options of `explain`, and ``"complete"``.

    Raises:
        ArgumentError: If one comes twice, or names no rule set or way to give back.
    """
    for one in spelled:
        if spelled.count(one) > 1:
            raise ArgumentError(f"--methods names {one!r} more than once.")
    return {one: _options(one) for one in spelled}


def _options(spelled: str) -> dict[str, Any]:
    rest, at, bias = spelled.partition("@")
    name, colon, rules = rest.partition(":")
    options = {"method": name}
    if colon:
        RuleSet.named(rules)
        options["rules"] = rules
    if at:
        if bias not in BIASES:
            raise ArgumentError(
                f"method {spelled!r} ends in '@{bias}'; it must be one of "
                f"{', '.join(f'@{known}' for known in BIASES)}."
                f"{did_you_mean(bias, BIASES)}"
            )
        options["complete"] = bias
    return options
