"""What an evaluation found: means with their intervals, and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Report", "Scores"]

Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""``{method: {metric: {"score", "low", "high", "n", "curve"}}}`` of one sign."""


@dataclass(frozen=True)
class Report:
    """An evaluation, ready to be shown.

    Attributes:
        texts: How many texts were explained.
        methods: The labels of all methods, also of those that failed.
        target: The class that was explained: ``"predicted"`` or ``"label"``.
        replacements: ``{metric: what takes a token's place}``.
        better: ``{metric: "higher" or "lower"}``.
        scores: What was found, by sign: ``"signed"`` or ``"absolute"``.
        fractions: The share of tokens at each step of a metric's curve.
        seconds: CPU seconds of each method, and ``"metrics"``.
        shown: How many perturbed texts the model was shown.
        failures: ``{method: message}``.
        skipped: ``{row: reason}``.
    """

    texts: int
    methods: Sequence[str]
    target: str
    replacements: Mapping[str, str]
    better: Mapping[str, str]
    scores: Mapping[str, Scores]
    fractions: Mapping[str, Sequence[float]]
    seconds: Mapping[str, float]
    shown: int
    failures: Mapping[str, str]
    skipped: Mapping[int, str]
