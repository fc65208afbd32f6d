"""Measure methods on molecules: ``python -m benchmarks.faithfulness.molecules.run``.

Every molecule of a task's test part is explained for its true class. A token that
stands for any atom takes the place of an atom; degrees, distances and bonds stay, and
so does the virtual node.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lrp_hooks import LrpHooksError, Relevance, UnruledWarning, explainers
from lrp_hooks.faithfulness import Occlusion, bootstrap, curves

from ...cost.run import cpu_model
from . import report
from .data import read, split
from .graphs import TOKENIZER, UNKNOWN, VIRTUAL
from .train import Examples, load

HERE = Path(__file__).parent
SIGNS: dict[str, Callable[[Tensor], Tensor]] = {
    "signed": torch.clone,
    "absolute": torch.abs,
}
Config = dict[str, Any]
Scores = dict[str, dict[str, dict[str, Tensor]]]  # method, sign, metric: [M]


class Batch(NamedTuple):
    """Molecules that are explained together.

    Attributes:
        inputs: Keyword arguments of the model.
        labels: ``[B]``.
        occlusion: What the model said of parts of them.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    occlusion: Occlusion


def main() -> None:
    """Measure all tasks, save, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of csv.gz")
    parser.add_argument("--fresh", action="store_true", help="measure all tasks anew")
    parser.add_argument("--molecules", type=int, help="so few, for a smoke run")
    chosen = parser.parse_args()
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    torch.set_num_threads(config["threads"])
    smoke = chosen.molecules is not None
    results = start(config, chosen.fresh or smoke)
    for task in config["tasks"]:
        if task not in results["tasks"]:
            found = measure_task(task, chosen.data, config, chosen.molecules)
            results["tasks"][task] = found
            if not smoke:
                text = json.dumps(results, indent=1) + "\n"
                report.RESULTS.write_text(text, encoding="utf-8")
    print(report.table(results))


def start(config: Config, fresh: bool) -> dict[str, Any]:
    """Take up earlier results of the same configuration, or begin new ones.

    Args:
        config: This run's configuration.
        fresh: Whether to drop earlier results.

    Returns:
        Results to be completed.
    """
    if report.RESULTS.exists() and not fresh:
        old: dict[str, Any] = json.loads(report.RESULTS.read_text(encoding="utf-8"))
        if old["config"] == config:
            return old
    names = ("torch", "rdkit", "lrp_hooks")
    return {
        "config": config,
        "environment": {
            **{name: version(name) for name in names},
            "cpu": cpu_model(),
        },
        "date": datetime.now(timezone.utc).date().isoformat(),
        "tasks": {},
    }


def measure_task(
    task: str, data: Path, config: Config, most: int | None
) -> dict[str, Any]:
    """Measure every method on the test part of a task.

    Args:
        task: Its name.
        data: The folder of its file.
        config: The run's configuration.
        most: At most so many molecules; ``None``: all.

    Returns:
        What the tables show.
    """
    model, info = load(task)
    test = split(read(task, data), info["settings"]["split_seed"])["test"]
    examples = Examples.of(test)
    places = torch.arange(len(test.labels))[:most]
    order = places[examples.sizes[places].argsort(stable=True)].split(config["batch"])
    batches = [
        Batch(
            inputs,
            labels,
            Occlusion(model, inputs, UNKNOWN, special_ids=(VIRTUAL,)),
        )
        for inputs, labels in examples.batches(order)
    ]
    methods, scores = measure_methods(model, batches, config)
    return {
        "molecules": len(places),
        "label_1": int(test.labels[places].sum()),
        "atoms": round(float(examples.sizes[places].double().mean()), 1),
        "trained": {name: info[name] for name in ("auroc", "seconds", "split")},
        "seeds": {name: info["settings"][name] for name in ("seed", "split_seed")},
        "methods": methods,
        "orderings": orderings(scores, config),
    }


def measure_methods(
    model: nn.Module, batches: list[Batch], config: Config
) -> tuple[dict[str, Any], Scores]:
    """Explain and measure with every method.

    Args:
        model: The trained model.
        batches: All molecules.
        config: The run's configuration.

    Returns:
        What the tables show of each method, and the score of each molecule.
    """
    found: dict[str, Any] = {}
    scores: Scores = {}
    for name, how in config["methods"].items():
        try:
            explained, about = explain_all(model, batches, how, config["seed"])
        except LrpHooksError as error:
            found[name] = {"refused": str(error)}
            continue
        scores[name] = {
            sign: measure(batches, [change(s) for s in explained], config["metrics"])
            for sign, change in SIGNS.items()
        }
        found[name] = {**about, **summarised(scores[name], config["confidence"])}
        print(name, about, flush=True)
    return found, scores


def explain_all(
    model: nn.Module, batches: list[Batch], how: dict[str, Any], seed: int
) -> tuple[list[Tensor], dict[str, Any]]:
    """Explain the true class of all molecules.

    Args:
        model: The trained model.
        batches: All molecules.
        how: The method's name and options.
        seed: For methods that draw.

    Returns:
        Scores ``[B, N]`` of each batch, and CPU seconds and the largest ledger error.
    """
    kind = explainers.named(how["method"])
    ours = {"tokenizer": TOKENIZER, "seed": seed}
    options = {name: ours[name] for name in ours if name in kind.options()}
    options |= how.get("options", {})
    scores, errors, start = [], [0.0], time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnruledWarning)
        for batch in batches:
            found = kind(model, **options)(batch.inputs, target=batch.labels)
            scores.append(found.scores)
            if isinstance(found, Relevance):
                errors.append(float(found.ledger.error.max()))
    about: dict[str, Any] = {"seconds": round(time.process_time() - start, 2)}
    if how["method"] == "lrp":
        about["ledger_error"] = float(f"{max(errors):.1e}")
    return scores, about


def measure(
    batches: list[Batch], scores: list[Tensor], metrics: list[str]
) -> dict[str, Tensor]:
    """Return each metric's score of each molecule, ``[M]``."""
    found = [
        curves(batch.occlusion, own, batch.labels, metrics)
        for batch, own in zip(batches, scores, strict=True)
    ]
    return {name: torch.cat([part[name].score for part in found]) for name in metrics}


def summarised(
    scores: dict[str, dict[str, Tensor]], confidence: float
) -> dict[str, dict[str, list[float]]]:
    """Return mean, lower and upper bound of each metric, by sign."""
    return {
        sign: {name: spread(values, confidence) for name, values in own.items()}
        for sign, own in scores.items()
    }


def spread(values: Tensor, confidence: float) -> list[float]:
    """Return a mean and its bounds by the bootstrap over molecules."""
    bounds = bootstrap(values, confidence)
    return [round(number, 4) for number in (float(values.mean()), *bounds)]


def orderings(scores: Scores, config: Config) -> list[dict[str, Any]]:
    """Test each published pair of methods on this run's molecules.

    Args:
        scores: By method, sign and metric.
        config: The run's configuration.

    Returns:
        For each pair, the better one first: the mean difference and its bounds.
    """
    published = config["published"]
    ranked = sorted(published["scores"], key=published["scores"].get, reverse=True)
    own = {
        name: scores[name][published["sign"]][published["metric"]] for name in ranked
    }
    return [
        {
            "better": better,
            "worse": worse,
            "difference": spread(own[better] - own[worse], config["confidence"]),
        }
        for better, worse in combinations(ranked, 2)
    ]


if __name__ == "__main__":
    main()
