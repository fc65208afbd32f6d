"""Explanations of real texts: the paper's metrics, at its queries and at fewer."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lrp_hooks import explain
from lrp_hooks.explainers.slalom import SlalomExplanation

from ...slalom.methods import METHODS, Clocked, Rows, deleted
from ...slalom.ranks import auroc, spearman
from ...slalom.run import agreement, by_word
from ...slalom.texts import Case

__all__ = ["SCORERS", "measure", "runtime"]

Call = dict[str, Any]


FITTED: dict[str, Call] = {
    "eff": {"sampling": "short", "fit": "sgd"},
    "fidel": {"sampling": "deletion", "fit": "als"},
    "ours": {"sampling": "mixed", "fit": "gauss-newton"},
}
"""SLALOMs, by the paper's names: each is fitted once, and read in several ways."""
READ = {"eff": ("v", "lin"), "fidel": ("v", "lin"), "ours": ("v", "lin", "removal")}
QUERIED: dict[str, Call] = {
    "LIME": {"method": "lime"},
    "SHAP": {"method": "kernel_shap"},
}
"""Other scorers that ask the model."""
DIRECT: dict[str, Call] = {
    "IG": {"method": "integrated_gradients"},
    "Grad": {"method": "saliency"},
    "LRP": {"method": "lrp", "rules": "attnlrp"},
    "Random": {"method": "random_baseline"},
}
"""Scorers of a few passes."""
SCORERS = (*(f"{n}, {r}" for n in FITTED for r in READ[n]), *QUERIED, *DIRECT)


def measure(
    model: Clocked,
    tokenizer: Any,
    case: Case,
    calls: int,
    settings: dict[str, Any],
    weights: dict[int, float],
) -> dict[str, Any]:
    """Explain one text by every method, and measure all.

    Args:
        model: A classifier of two classes.
        tokenizer: Its tokenizer.
        case: The text.
        calls: Queries of the methods that ask the model.
        settings: ``steps`` of insertion and deletion, ``removals``, ``seed``.
        weights: Naive-Bayes weights by token id.

    Returns:
        By method: ``insertion`` and ``deletion``, what the class's probability lacks
        to 1 on average where the strongest, or the weakest, tokens alone are kept,
        ``naive_bayes`` (Spearman), ``people`` (AUROC, where words are marked),
        ``removal`` (Spearman with what leaving each token out takes away), and of
        surrogates ``removal_error``, the mean squared error of predicted changes when
        1 to 10 tokens go.
    """
    ids, seed = case.ids, settings["seed"]
    sign = 1.0 if float(model.log_odds([ids[0]])[0]) > 0 else -1.0
    alone = _alone(model, ids)
    found: dict[str, Any] = {}
    for name, scores in _scores(model, tokenizer, ids, calls, seed):
        curves = _curves(model, ids, sign * scores, sign, settings["steps"])
        found[name] = {
            **curves,
            "naive_bayes": agreement(scores, ids[0], weights),
            "removal": spearman(scores[1:-1], alone),
        }
        if len(case.attention):
            found[name]["people"] = auroc(by_word(scores, case).abs(), case.attention)
    for name, error in _removals(model, tokenizer, ids, calls, settings).items():
        found.setdefault(name, {})["removal_error"] = error
    return found


def _scores(model: Clocked, tokenizer: Any, ids: Tensor, calls: int, seed: int) -> Any:
    """Yield each method's scores of class 1, ``[T]``."""
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def explained(method: str, **options: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return explain(model.model, batch, method, tokenizer, 1, **options)

    for name, options in FITTED.items():
        found = explained("slalom", n_samples=calls, seed=seed, **options)
        for reading in READ[name]:
            yield f"{name}, {reading}", _read(found, ids[0], reading)
    for name, call in (QUERIED | DIRECT).items():
        options = {"n_samples": calls, "seed": seed} if name in QUERIED else {}
        if name == "Random":
            options = {"seed": seed}
        yield name, explained(**call, **options).scores[0].detach().double()


def _read(found: SlalomExplanation, ids: Tensor, reading: str) -> Tensor:
    """Return a SLALOM's values, numerators or what leaving a token out takes away."""
    values = found.values[0].double()
    if not found.fit["informative"]:
        return torch.zeros_like(values)
    if reading == "removal":
        return found.surrogates[0].removal(ids)
    return values if reading == "v" else found.scores[0].double()


def _curves(
    model: Clocked, ids: Tensor, scores: Tensor, sign: float, step: int
) -> dict[str, float]:
    """Keep the strongest or weakest tokens, ``step`` more each time."""
    inner = scores[1:-1]
    order = inner.argsort(descending=True, stable=True)
    sizes = range(step, len(inner), step) or [1]
    kept = {"insertion": order, "deletion": order.flip(0)}
    found = {}
    for name, ranked in kept.items():
        rows = [_keep(ids, ranked[:size]) for size in sizes]
        chance = (sign * model.log_odds(rows)).sigmoid().mean()
        found[name] = float(1 - chance)
    return found


def _keep(ids: Tensor, places: Tensor) -> Tensor:
    """Return a text with some of its ordinary tokens, in their order."""
    inner = ids[0, 1:-1][places.sort().values]
    return torch.cat([ids[0, :1], inner, ids[0, -1:]])


def _alone(model: Clocked, ids: Tensor) -> Tensor:
    """Return what leaving each token out takes away from the log-odds."""
    length = ids.shape[1] - 2
    places = torch.arange(length)
    rows = [_keep(ids, places[places != i]) for i in range(length)]
    said = model.log_odds([ids[0], *rows])
    return said[0] - said[1:]


SURROGATES = {
    "eff, v": "eff",
    "fidel, v": "fidel",
    "ours, v": "slalom",
    "linear": "linear",
    "LIME": "lime",
    "SHAP": "kernel-shap",
}
"""Whose predictions are judged, by the names of the fidelity benchmark's methods."""


def _removals(
    model: Clocked, tokenizer: Any, ids: Tensor, calls: int, settings: dict[str, Any]
) -> dict[str, float]:
    """Predict how log-odds change when 1 to 10 random tokens go."""
    generator = torch.Generator().manual_seed(settings["seed"] + 10**6)
    rows = [deleted(ids[0], generator) for _ in range(settings["removals"])]
    said = model.log_odds([ids[0], *rows])
    changes = said[1:] - said[0]
    found = {}
    for name, method in SURROGATES.items():
        fitted = METHODS[method](model, tokenizer, ids, calls, settings["seed"])
        predict: Callable[[Rows], Tensor] = fitted.predict
        told = predict([ids[0], *rows])
        found[name] = float((told[1:] - told[0] - changes).square().mean())
    return found


def runtime(model: Clocked, tokenizer: Any, ids: Tensor, calls: int) -> dict[str, Any]:
    """Measure the CPU seconds of each method that asks the model.

    Args:
        model: A classifier of two classes.
        tokenizer: Its tokenizer.
        ids: One text ``[1, T]``.
        calls: Queries.

    Returns:
        By method, with the model's part in it.
    """
    found = {}
    for name in ("eff", "fidel", "slalom", "lime", "kernel-shap"):
        spent, start = model.seconds, time.process_time()
        METHODS[name](model, tokenizer, ids, calls, 0)
        found[name] = {
            "seconds": round(time.process_time() - start, 3),
            "model": round(model.seconds - spent, 3),
        }
    return found
