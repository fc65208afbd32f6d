"""SLALOM and linear regression on the same law, at the same number of model calls.

A *law* says which perturbations are drawn: deletions of 1 to 10 tokens, random triples,
or both in halves. Each surrogate is fitted to samples of the law, and predicts others.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lrp_hooks.explainers.slalom import Slalom

from ...slalom.methods import Clocked, bag, deleted, linear, triple
from ...slalom.texts import Case

__all__ = ["LAWS", "measure"]

LAWS = {"deletion": ("deletion",), "short": ("short",), "mixed": ("deletion", "short")}
"""By the names of ``Slalom(sampling=)``: the kinds that are drawn."""
DRAW = {"deletion": deleted, "short": triple}
RIDGE = 1e-3
TESTED = 10**6
"""What the seed of perturbations is moved by that no surrogate has seen."""


def measure(
    model: Clocked, tokenizer: Any, case: Case, calls: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """Fit both surrogates on each law, and let them predict.

    Args:
        model: A classifier of two classes.
        tokenizer: Its tokenizer.
        case: The text.
        calls: Sequences that each surrogate is shown.
        settings: ``perturbations`` of each kind to predict, and the ``seed``.

    Returns:
        By law: mean squared errors in units of the variance of each kind of
        perturbations, averaged over the law's kinds, of ``"slalom"`` and
        ``"linear"``; of the default, also whether its verdict names linear regression
        as better on each kind.
    """
    kinds = perturbed(case, settings["perturbations"], settings["seed"] + TESTED)
    outputs = {kind: model.log_odds(rows) for kind, rows in kinds.items()}
    found: dict[str, Any] = {}
    for law, drawn in LAWS.items():
        explained = surrogate(model, tokenizer, case, law, calls, settings["seed"])
        line = regression(model, case, drawn, calls, settings["seed"])
        fitted = {
            "slalom": lambda rows, one=explained: torch.cat([
                one.surrogate(row[None]) for row in rows
            ]),
            "linear": line,
        }
        errors = {
            name: {k: share(predict(kinds[k]), outputs[k]) for k in kinds}
            for name, predict in fitted.items()
        }
        found[law] = {
            "slalom": mean([errors["slalom"][k] for k in drawn]),
            "linear": mean([errors["linear"][k] for k in drawn]),
            "by_kind": errors,
            "said": {k: said(explained, k) for k in kinds},
            "calls": explained.fit["model_calls"],
        }
    return found


def surrogate(
    model: Clocked, tokenizer: Any, case: Case, law: str, calls: int, seed: int
) -> Any:
    """Explain the text by the SLALOM of a law."""
    # A text of more tokens than calls needs one call for each.
    least = len(set(case.ids[0].tolist()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explainer = Slalom(
            model, tokenizer, sampling=law, n_samples=max(calls, least), seed=seed
        )
        return explainer(case.ids, target=1)


def regression(
    model: Clocked, case: Case, kinds: Sequence[str], calls: int, seed: int
) -> Any:
    """Regress on how often each token is there, the kinds in equal parts."""
    each = calls // len(kinds)
    rows = [row for kind in kinds for row in perturbed(case, each, seed, [kind])[kind]]
    types = case.ids[0, 1:-1].unique()
    ones = torch.ones(len(rows), dtype=torch.float64)
    solution = linear(bag(rows, types), model.log_odds(rows), ones, RIDGE)
    return lambda new: bag(new, types) @ solution[:-1] + solution[-1]


def perturbed(
    case: Case, number: int, seed: int, kinds: Sequence[str] = tuple(DRAW)
) -> dict[str, list[Tensor]]:
    """Draw perturbations of each kind."""
    generator = torch.Generator().manual_seed(seed)
    return {
        kind: [DRAW[kind](case.ids[0], generator) for _ in range(number)]
        for kind in kinds
    }


def said(explained: Any, kind: str) -> bool:
    """Return whether held-out errors name linear regression as better on a kind."""
    fit = explained.fit
    name = f"linear_{kind}_error"
    return name in fit and bool(fit[name] < fit[f"{kind}_error"])


def share(predicted: Tensor, outputs: Tensor) -> float:
    """Return the mean squared error in units of the variance."""
    error = (predicted - outputs).square().mean() / outputs.var(correction=0)
    return float(error)


def mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)
