"""Is a method as good as the best one? Paired differences, and how many there were.

A cell is a column and a metric. Methods that take one backward pass are compared with
the best of the others in each cell, which is picked by the same numbers: that favours
the other. Differences from one method over many cells are tested with Holm's
correction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from lrp_hooks.faithfulness import bootstrap

from .chosen import Cell, sign

__all__ = ["advantage", "against", "counted", "holm", "sign_flips"]

Values = Mapping[str, np.ndarray]
FLIPS, BLOCK = 9999, 256
LEVEL = 0.05


def advantage(values: Values, one: str, other: str, metric: str) -> np.ndarray:
    """Return by how much a method is better on each item, where both have a number.

    Args:
        values: One number an item, by method.
        one: A method.
        other: What it is compared with.
        metric: Says which way is better.

    Returns:
        ``[n]``, positive where the first is better.
    """
    found = sign(metric) * (values[one] - values[other])
    return found[~np.isnan(found)]


def counted(
    cells: Mapping[Cell, Values], methods: Iterable[str]
) -> dict[str, dict[str, list[Cell]]]:
    """Sort the cells of each method by how it does there.

    Args:
        cells: One number an item, by method, of each column and metric.
        methods: Those that are compared with each other.

    Returns:
        For each method the cells in which it is ``"best"`` by its mean; ``"tied"``: the
        95 % bootstrap interval of its difference from the best other has a 0 in it;
        ``"behind"``: it has none; and those in which it is ``"worst"`` by its mean.
    """
    kinds = ("best", "tied", "behind", "worst")
    found: dict[str, dict[str, list[Cell]]] = {
        method: {kind: [] for kind in kinds} for method in methods
    }
    for cell, values in cells.items():
        own = [method for method in found if method in values]
        means = {m: sign(cell[1]) * float(np.nanmean(values[m])) for m in own}
        worst = min(means, key=means.__getitem__)
        found[worst]["worst"].append(cell)
        for method in own:
            rest = {m: mean for m, mean in means.items() if m != method}
            best = max(rest, key=rest.__getitem__)
            gap = advantage(values, method, best, cell[1])
            found[method][_standing(gap)].append(cell)
    return found


def _standing(gap: np.ndarray) -> str:
    if gap.mean() >= 0:
        return "best"
    _, high = bootstrap(torch.from_numpy(gap))
    return "tied" if high >= 0 else "behind"


def against(cells: Mapping[Cell, Values], one: str, other: str) -> list[dict[str, Any]]:
    """Compare two methods in every cell.

    Args:
        cells: One number an item, by method, of each column and metric.
        one: A method.
        other: What it is compared with.

    Returns:
        For each cell ``"column"``, ``"metric"``, ``"n"``, ``"advantage"`` of the first
        with its 95 % bootstrap interval ``"low"`` to ``"high"``, ``"p"`` of sign flips,
        and ``"holm"``, the same after Holm's correction over all cells.
    """
    found: list[dict[str, Any]] = []
    for (column, metric), values in cells.items():
        if {one, other} <= values.keys():
            gap = advantage(values, one, other, metric)
            low, high = bootstrap(torch.from_numpy(gap))
            found.append({
                "column": column,
                "metric": metric,
                "n": len(gap),
                "advantage": float(gap.mean()),
                "low": low,
                "high": high,
                "p": sign_flips(gap),
            })
    for entry, p in zip(found, holm([e["p"] for e in found]), strict=True):
        entry["holm"] = p
    return found


def sign_flips(gap: np.ndarray) -> float:
    """Return the p-value of a paired difference by random flips of signs.

    Args:
        gap: The difference on each item, ``[n]``.

    Returns:
        How often the mean is as far from 0 when each sign is drawn, the given one
        counted in.
    """
    draw, reached = np.random.default_rng(0), 0
    far = abs(gap.mean()) * (1 - 1e-12)
    for start in range(0, FLIPS, BLOCK):
        number = min(BLOCK, FLIPS - start)
        signs = draw.choice((-1.0, 1.0), (number, len(gap)))
        reached += int((np.abs(signs @ gap / len(gap)) >= far).sum())
    return (1 + reached) / (1 + FLIPS)


def holm(p: list[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979).

    Args:
        p: P-values.

    Returns:
        Corrected ones, in the same order: below a level, the chance that any of these
        is so by luck is below it as well.
    """
    order = np.argsort(p)
    scaled = np.array(p)[order] * np.arange(len(p), 0, -1)
    found = np.empty(len(p))
    found[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in found]
