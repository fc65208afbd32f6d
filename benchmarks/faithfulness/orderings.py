"""Does the order that a paper found hold here? Paired differences and their spread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lrp_hooks.faithfulness import BETTER, bootstrap

__all__ = ["compare", "of_rows", "verdict"]


def compare(
    scores: Mapping[tuple[str, str], Tensor],
    claims: Iterable[Sequence[str]],
    metrics: Iterable[str],
) -> list[dict[str, Any]]:
    """Test claims that one method is better than another.

    Args:
        scores: ``{(method, metric): [B]}``, of the same examples in the same order.
        claims: Pairs of methods, the better one first; those that were not measured
            are left out.
        metrics: The metrics to test them on.

    Returns:
        For each claim and metric the mean advantage of the first method, positive
        where it is better, with its 95 % bootstrap interval over examples.
    """
    found = []
    for better, worse in claims:
        for metric in metrics:
            if not {(better, metric), (worse, metric)} <= scores.keys():
                continue
            sign = 1 if BETTER[metric] == "higher" else -1
            advantage = sign * (scores[better, metric] - scores[worse, metric])
            low, high = bootstrap(advantage)
            found.append({
                "better": better,
                "worse": worse,
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


def verdict(entry: Mapping[str, Any]) -> str:
    """Say whether a claim holds.

    Args:
        entry: One of `compare`.

    Returns:
        ``"holds"`` or ``"reversed"`` where the interval has no 0 in it, else
        ``"open"``.
    """
    if entry["low"] > 0:
        return "holds"
    return "reversed" if entry["high"] < 0 else "open"
