"""Lopardo et al.'s experiments: ``python -m benchmarks.papers.attention``."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..record import Record
from . import deep, figures, measure, report
from .data import encode, reviews
from .train import HERE, load

RESULTS = HERE / "results"


def main() -> None:
    """Measure what is missing, draw the figures, and rewrite the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", help="folder of data")
    arguments = parser.parse_args()
    if arguments.shared is not None:
        os.environ["LRP_HOOKS_SHARED"] = arguments.shared
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    torch.set_num_threads(config["threads"])
    run(config, RESULTS)
    model, words = load()
    figures.draw(model, words, config["sentence"], HERE / "figures")
    report.main()


def run(config: dict[str, Any], folder: Path) -> None:
    """Measure all experiments on the first reviews of a shuffled test set."""
    model, words = load()
    texts, _ = reviews("test")
    generator = torch.Generator().manual_seed(config["seed"])
    order = torch.randperm(len(texts), generator=generator).tolist()
    deeper = deep.load(len(words), config["deep"])
    experiments: dict[str, Callable[[Tensor], Any]] = {
        "gradient": lambda ids: measure.gradient(model, ids),
        "lime": lambda ids: measure.lime(model, ids, config["lime"]),
        "relations": lambda ids: measure.relations(model, ids),
        "deep": lambda ids: deep.relations(deeper, ids, config["deep"]),
    }
    for name, experiment in experiments.items():
        plan = config[name]
        record = Record(folder / f"{name}.json", plan)
        chosen = order[: plan["documents"]]
        longest = plan.get("max_length", model.max_length)
        ids = encode([texts[i] for i in chosen], words, longest)
        for number, row in zip(chosen, ids, strict=True):
            record.later(str(number), lambda r=row, e=experiment: e(r))
        record.save()


if __name__ == "__main__":
    main()
