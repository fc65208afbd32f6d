"""Does the order that a paper found hold here? Paired differences and their spread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lrp_hooks.faithfulness import BETTER, bootstrap

__all__ = ["AT_ITS_PROTOCOL", "ELSEWHERE", "compare", "of_rows", "verdict"]

AT_ITS_PROTOCOL = ("same", "open", "reversed")
"""What is said of a published ordering that was measured as its paper did."""
ELSEWHERE = ("ahead", "open", "behind")
"""What is said of one measured otherwise, which cannot reverse what a paper found."""


def compare(
    scores: Mapping[tuple[str, str], Tensor],
    claims: Iterable[Sequence[str]],
    metrics: Iterable[str],
    better: Mapping[str, str] = BETTER,
) -> list[dict[str, Any]]:
    """Test claims that one method is better than another.

    Args:
        scores: ``{(method, metric): [B]}``, of the same examples in the same order.
        claims: Pairs of methods, the better one first; those that were not measured
            are left out.
        metrics: The metrics to test them on.
        better: Which way each is better, ``"higher"`` or ``"lower"``.

    Returns:
        For each claim and metric the mean advantage of the first method, positive
        where it is better, with its 95 % bootstrap interval over examples.
    """
    found = []
    for first, second in claims:
        for metric in metrics:
            if not {(first, metric), (second, metric)} <= scores.keys():
                continue
            sign = 1 if better[metric] == "higher" else -1
            advantage = sign * (scores[first, metric] - scores[second, metric])
            low, high = bootstrap(advantage)
            found.append({
                "better": first,
                "worse": second,
                "metric": metric,
                "advantage": float(advantage.nanmean()),
                "low": low,
                "high": high,
            })
    return found


def of_rows(
    rows: Iterable[Mapping[str, Any]], sign: str = "signed"
) -> dict[tuple[str, str], Tensor]:
    """Arrange an evaluation's rows for `compare`.

    Args:
        rows: `Evaluation.rows`.
        sign: Which scores.

    Returns:
        ``{(method, metric): [B]}``.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for entry in rows:
        if entry["sign"] == sign:
            key = (entry["method"], entry["metric"])
            found.setdefault(key, []).append(entry["score"])
    return {k: torch.tensor(v, dtype=torch.float64) for k, v in found.items()}


def verdict(entry: Mapping[str, Any], words: Sequence[str] = ELSEWHERE) -> str:
    """Say whether a claim holds.

    Args:
        entry: One of `compare`.
        words: What to say where the interval lies above 0, holds it, or lies below.

    Returns:
        One of the words.
    """
    above, across, below = words
    if entry["low"] > 0:
        return above
    return below if entry["high"] < 0 else across
