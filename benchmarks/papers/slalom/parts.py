"""The experiments by name: each measures what its results lack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ...slalom.methods import Clocked
from ...slalom.texts import Case, attended, cases, load, naive_bayes
from ..record import Record
from . import budgets, real, surrogates, synthetic

__all__ = ["PARTS", "RESULTS"]

RESULTS = Path(__file__).parent / "results"
COUNTED = {"calls", "texts", "seeds", "vocabularies"}
"""What entries there are, of which each stands by itself."""


def run_budgets(config: dict[str, Any]) -> None:
    """Compare SLALOM with linear regression at equal calls on equal laws."""
    record = Record(RESULTS / "budgets.json", _asked(config))
    for calls in config["calls"]:
        for name, settings in config["models"].items():
            model, tokenizer = load(name)
            clocked = Clocked(model).eval()
            most = config["texts"][name][str(calls)]
            for number, case in enumerate(cases(tokenizer, settings, config)):
                if number < most:
                    record.once(
                        f"{name}|{calls}|{case.name}",
                        lambda c=case, m=clocked, t=tokenizer, n=calls: budgets.measure(
                            m, t, c, n, config
                        ),
                    )


def run_linear(config: dict[str, Any]) -> None:
    """Train Transformers on linear data, and fit surrogates to each."""
    record = Record(RESULTS / "linear.json", _asked(config))
    for layers in config["layers"]:
        for seed in config["seeds"]:
            record.once(
                f"{layers}|{seed}", lambda n=layers, s=seed: _linear(config, n, s)
            )


def _linear(config: dict[str, Any], layers: int, seed: int) -> dict[str, Any]:
    law = synthetic.linear_law()
    model, quality = synthetic.train(law, layers, config, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    rows, _ = law.draw(config["fitted"], generator)
    fitted = surrogates.fit_surrogates(rows, model.ask(rows), len(law.chances))
    new, _ = law.draw(config["tested"], generator)
    outputs = model.ask(new)
    return {
        "quality": quality,
        "variance": float(outputs.var(correction=0)),
        "errors": {
            name: float((predict(new) - outputs).square().mean())
            for name, predict in fitted.items()
        },
        "perfect_repeated": surrogates.flatness(
            model, list(synthetic.LINEAR).index("perfect")
        ),
        "shapley": surrogates.shapley_recovery(
            model, fitted, law, config["shapley"], seed
        ),
    }


def run_slalom(config: dict[str, Any]) -> None:
    """Train Transformers on data of a SLALOM, and recover its parameters."""
    record = Record(RESULTS / "slalom.json", _asked(config))
    for size in config["vocabularies"]:
        for seed in config["seeds"]:
            record.once(f"{size}|{seed}", lambda d=size, s=seed: _slalom(config, d, s))


def _slalom(config: dict[str, Any], size: int, seed: int) -> dict[str, Any]:
    law, *truth = synthetic.slalom_law(size, seed)
    model, quality = synthetic.train(law, config["layers"], config, seed)
    values, importances = truth
    found = surrogates.recovered(
        model, law, (values, importances), config["fitted"], seed + 1
    )
    return {"quality": quality, **found}


def run_real(config: dict[str, Any]) -> None:
    """Explain reviews by every method, at each number of queries."""
    record = Record(RESULTS / "real.json", _asked(config))
    model, tokenizer = load(config["model"])
    clocked = Clocked(model).eval()
    weights = naive_bayes(tokenizer, config)
    for calls, most in config["calls"].items():
        for case in chosen(tokenizer, config, most):
            record.once(
                f"{calls}|{case.name}",
                lambda c=case, n=int(calls): real.measure(
                    clocked, tokenizer, c, n, config, weights
                ),
            )


def chosen(tokenizer: Any, config: dict[str, Any], most: dict[str, int]) -> list[Case]:
    """Return the first reviews of IMDB and of Yelp-HAT."""
    settings = {"sst2": 0, "longest": config["longest"], **most}
    listed = [*cases(tokenizer, settings, config), *attended(tokenizer, settings)]
    return listed


def run_runtime(config: dict[str, Any]) -> None:
    """Measure CPU seconds against the number of queries."""
    record = Record(RESULTS / "runtime.json", _asked(config))
    model, tokenizer = load(config["model"])
    clocked = Clocked(model).eval()
    texts = chosen(tokenizer, config, {"imdb": config["texts"], "yelp_hat": 0})
    for calls in config["calls"]:
        for case in texts:
            record.once(
                f"{calls}|{case.name}",
                lambda c=case, n=calls: real.runtime(clocked, tokenizer, c.ids, n),
            )


def _asked(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out how many entries there are, which changes none of their numbers."""
    return {name: own for name, own in config.items() if name not in COUNTED}


PARTS: dict[str, Callable[[dict[str, Any]], None]] = {
    "budgets": run_budgets,
    "linear": run_linear,
    "slalom": run_slalom,
    "real": run_real,
    "runtime": run_runtime,
}
