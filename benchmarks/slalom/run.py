"""Measure surrogates on real models: ``python -m benchmarks.slalom.run [--fresh]``."""

from __future__ import annotations

import argparse
import json
import platform
import warnings
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrp_hooks import explain, explainers

from . import report
from .methods import METHODS, Clocked, deleted, triple
from .ranks import auroc, spearman
from .texts import Case, attended, cases, load, naive_bayes

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
SCORERS = {
    "slalom value": ("slalom", {"score": "value"}),
    "slalom product": ("slalom", {"score": "product"}),
    "slalom removal": ("slalom", {"score": "removal"}),
    "lrp": ("lrp", {}),
    "decompx": ("decompx", {}),
}
Results = dict[str, Any]


def main() -> None:
    """Measure what the results lack, save after each text, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="measure all texts anew")
    fresh = parser.parse_args().fresh
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    torch.set_num_threads(config["threads"])
    results = start(config, fresh)
    for name, settings in config["models"].items():
        measure_model(results, name, settings)
    print(report.table(results))


def start(config: dict[str, Any], fresh: bool) -> Results:
    """Take up earlier results of the same configuration, or begin new ones.

    Args:
        config: This run's configuration.
        fresh: Whether to drop earlier results.

    Returns:
        Results to be completed.
    """
    if RESULTS.exists() and not fresh:
        old: Results = json.loads(RESULTS.read_text(encoding="utf-8"))
        if old["config"] == config:
            return old
    names = ("torch", "transformers", "captum", "lrp_hooks")
    return {
        "config": config,
        "environment": {
            "python": platform.python_version(),
            **{name: version(name) for name in names},
        },
        "date": datetime.now(timezone.utc).date().isoformat(),
        "fidelity": {},
        "plausibility": {},
    }


def measure_model(results: Results, name: str, settings: dict[str, Any]) -> None:
    """Measure all texts of one model."""
    config = results["config"]
    model, tokenizer = load(name)
    errors = results["fidelity"].setdefault(name, {})
    for case in cases(tokenizer, settings, config):
        if case.name not in errors:
            errors[case.name] = fidelity(model, tokenizer, case, config)
            save(results)
    agreement = results["plausibility"].setdefault(name, {})
    weights = naive_bayes(tokenizer, config)
    for case in [*cases(tokenizer, settings, config), *attended(tokenizer, settings)]:
        if case.name not in agreement:
            agreement[case.name] = plausibility(model, tokenizer, case, weights)
            save(results)


def fidelity(
    model: Any, tokenizer: Any, case: Case, config: dict[str, Any]
) -> dict[str, Any]:
    """Fit every method and let it predict perturbations that none has seen.

    Args:
        model: A classifier of two classes.
        tokenizer: Its tokenizer.
        case: The text.
        config: The configuration.

    Returns:
        Variances of both kinds of perturbations, and each method's mean squared
        errors, calls and CPU seconds.
    """
    generator = torch.Generator().manual_seed(config["seed"] + 10**6)
    number = range(config["perturbations"])
    kinds = {
        "deletion": [deleted(case.ids[0], generator) for _ in number],
        "short": [triple(case.ids[0], generator) for _ in number],
    }
    clocked = Clocked(model).eval()
    outputs = {kind: clocked.log_odds(rows) for kind, rows in kinds.items()}
    entry: dict[str, Any] = {
        "tokens": case.ids.shape[1] - 2,
        "types": len(set(case.ids[0, 1:-1].tolist())),
        "variance": {k: float(y.var(correction=0)) for k, y in outputs.items()},
        "methods": {},
    }
    for name, method in METHODS.items():
        for calls in config["calls"]:
            fitted = method(clocked, tokenizer, case.ids, calls, config["seed"])
            entry["methods"][f"{name} {calls}"] = {
                **{
                    kind: float((fitted.predict(rows) - outputs[kind]).square().mean())
                    for kind, rows in kinds.items()
                },
                "calls": fitted.calls,
                "seconds": round(fitted.seconds, 4),
            }
    return entry


def plausibility(
    model: Any, tokenizer: Any, case: Case, weights: dict[int, float]
) -> dict[str, float]:
    """Compare scores with naive-Bayes weights, or with the words that humans marked.

    Args:
        model: A classifier of two classes.
        tokenizer: Its tokenizer.
        case: The text.
        weights: Naive-Bayes weights by token id.

    Returns:
        Spearman's correlation over distinct tokens, or the AUROC of absolute scores
        over words, for each scorer that the library has.
    """
    found = {}
    for name, (method, options) in SCORERS.items():
        if method not in explainers.names():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explanation = explain(
                model,
                {"input_ids": case.ids, "attention_mask": torch.ones_like(case.ids)},
                method,
                tokenizer,
                1,
                **options,
            )
        scores = explanation.scores[0].detach().double()
        if len(case.attention):
            found[name] = auroc(by_word(scores, case).abs(), case.attention)
        else:
            found[name] = agreement(scores, case.ids[0], weights)
    return found


def by_word(scores: Tensor, case: Case) -> Tensor:
    """Sum the scores of each word's tokens, ``[W]``."""
    inside = case.words >= 0
    total = torch.zeros(len(case.attention), dtype=scores.dtype)
    return total.scatter_add_(0, case.words[inside], scores[inside])


def agreement(scores: Tensor, ids: Tensor, weights: dict[int, float]) -> float:
    """Correlate the mean score of each distinct token with its weight."""
    kinds = ids[1:-1].unique()
    means = torch.stack([scores[ids == kind].mean() for kind in kinds])
    wanted = torch.tensor([weights.get(int(kind), 0.0) for kind in kinds])
    return spearman(means, wanted)


def save(results: Results) -> None:
    """Write the results whole or not at all."""
    draft = RESULTS.with_suffix(".part")
    draft.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draft.replace(RESULTS)


if __name__ == "__main__":
    main()
