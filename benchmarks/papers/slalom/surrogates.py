"""Linear, GAM and SLALOM surrogates of a small Transformer, and what they recover."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from math import comb

import torch
from torch import Tensor

from lrp_hooks.explainers.slalom import recover
from lrp_hooks.explainers.slalom.gauss_newton import RIDGES, Problem, ridge_path
from lrp_hooks.explainers.slalom.surrogate import predict

from ...slalom.methods import linear
from ...slalom.ranks import spearman
from .synthetic import FIRST, LONGEST, Law, Reader, counted

__all__ = ["fit_surrogates", "flatness", "recovered", "shapley", "shapley_recovery"]

Rows = list[Tensor]
Predict = Callable[[Rows], Tensor]
RIDGE = 1e-6
COPIES = 30
EXPLAINED = 8
"""Words of the texts whose Shapley values are exact: 256 subsets each."""


def fit_surrogates(rows: Rows, outputs: Tensor, size: int) -> dict[str, Predict]:
    """Fit the three surrogates to a Transformer's outputs.

    Args:
        rows: Texts, ids of words.
        outputs: Log-odds ``[N]``.
        size: ``D`` words.

    Returns:
        ``"linear"``, a weight for each word; ``"GAM"``, one for each word at each
        position; ``"SLALOM"``.
    """
    ones = torch.ones_like(outputs)
    weights = linear(counted(rows, size), outputs, ones, RIDGE)
    placed = linear(_places(rows, size), outputs, ones, 1e-3)
    problem = Problem.of(counted(rows, size), outputs, ones)
    _, _, best = min(ridge_path(problem, RIDGES[2:]), key=lambda found: found[0])
    return {
        "linear": lambda new: counted(new, size) @ weights[:-1] + weights[-1],
        "GAM": lambda new: _places(new, size) @ placed[:-1] + placed[-1],
        "SLALOM": lambda new: predict(counted(new, size), *best),
    }


def recovered(
    model: Reader, law: Law, truth: tuple[Tensor, Tensor], texts: int, seed: int
) -> dict[str, float]:
    """Compare a Transformer's SLALOM with the one that made its data.

    Args:
        model: The Transformer.
        law: What its data were drawn from.
        truth: Values and centred importances, ``[D]`` each.
        texts: How many a SLALOM is fitted to.
        seed: Of these texts.

    Returns:
        Root mean squared errors of ``values`` and ``importances`` of that fit;
        ``exact_values`` and ``exact_importances`` of 2 D - 1 questions, with the
        ``valid`` share of their pairs; the spread of the true ones, for scale; and what
        the authors plot, the absolute mean difference of values.
    """
    size = len(law.chances)
    rows, _ = law.draw(texts, torch.Generator().manual_seed(seed))
    problem = Problem.of(
        counted(rows, size), model.ask(rows), torch.ones(texts).double()
    )
    _, _, best = min(ridge_path(problem, RIDGES[2:]), key=lambda found: found[0])
    ids = list(range(FIRST, FIRST + size))
    exact = recover(lambda asked: model.ask([torch.tensor(r) for r in asked]), ids)
    values, importances = truth
    centred = best.importances - best.importances.mean()
    return {
        "values": _root(best.values - values),
        "importances": _root(centred - importances),
        "exact_values": _root(exact.surrogate.values - values),
        "exact_importances": _root(exact.surrogate.importances - importances),
        "valid": exact.valid,
        "spread_of_values": _root(values - values.mean()),
        "spread_of_importances": _root(importances),
        "plotted": float((best.values - values).mean().abs()),
    }


def flatness(model: Reader, word: int) -> list[float]:
    """Return the log-odds of a word that is repeated 1 to 30 times."""
    rows = [torch.full((k,), word + FIRST) for k in range(1, COPIES + 1)]
    return [round(float(o), 4) for o in model.ask(rows)]


def shapley_recovery(
    model: Reader, surrogates: dict[str, Predict], law: Law, texts: int, seed: int
) -> list[dict[str, float]]:
    """Compare exact Shapley values of each surrogate with those of the Transformer.

    Args:
        model: The Transformer.
        surrogates: As `fit_surrogates` returns them.
        law: What texts are drawn from.
        texts: How many.
        seed: Of the texts.

    Returns:
        For each text Spearman's correlation of each surrogate with the Transformer.
    """
    generator = torch.Generator().manual_seed(seed)
    size = len(law.chances)
    found = []
    for _ in range(texts):
        row = torch.randint(size, (EXPLAINED,), generator=generator) + FIRST
        wanted = shapley(model.ask, row)
        found.append({
            name: spearman(shapley(one, row), wanted)
            for name, one in surrogates.items()
        })
    return found


def shapley(odds: Predict, row: Tensor) -> Tensor:
    """Return exact Shapley values of a text's words, the empty text counting 0.

    Args:
        odds: From texts to log-odds.
        row: ``n`` words.

    Returns:
        ``[n]``.
    """
    n = len(row)
    subsets = [s for k in range(1, n + 1) for s in itertools.combinations(range(n), k)]
    said = odds([row[list(s)] for s in subsets]).tolist()
    values = dict(zip(subsets, said, strict=True)) | {(): 0.0}
    found = torch.zeros(n, dtype=torch.float64)
    for s, value in values.items():
        for i in range(n):
            if i in s:
                found[i] += value / (n * comb(n - 1, len(s) - 1))
            else:
                found[i] -= value / (n * comb(n - 1, len(s)))
    return found.round(decimals=5)  # copies of a word are ties


def _places(rows: Rows, size: int) -> Tensor:
    """Say which word stands at which position, ``[N, LONGEST * D]``."""
    table = torch.zeros(len(rows), LONGEST * size, dtype=torch.float64)
    for i, row in enumerate(rows):
        table[i, torch.arange(len(row)) * size + row - FIRST] = 1.0
    return table


def _root(gaps: Tensor) -> float:
    return float(gaps.square().mean().sqrt())
