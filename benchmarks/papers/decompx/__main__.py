"""Measure what is not measured yet, and write the page.

``python -m benchmarks.papers.decompx --shared DIR [--only NAME] [--minutes M]``
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import published
from ..page import WORK, load_config, save
from ..portions import Found, gathered, shuffled
from . import report
from .rationales import performance
from .run import Case, load, measure

HERE = Path(__file__).parent
PREDICTION = "prediction performance"


def main() -> None:
    """Measure, save after each setting, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="models and data")
    parser.add_argument("--only", metavar="NAME", help="one setting of config.json")
    parser.add_argument("--minutes", type=float, help="when to stop, for each setting")
    parser.add_argument("--rationales", action="store_true", help="train on them, too")
    chosen = parser.parse_args()
    config = load_config(HERE)
    for name in [chosen.only] if chosen.only else config["settings"]:
        own = config["settings"][name]
        case = load(own, chosen.shared, config["seed"])
        found = measured(name, config, case, chosen.minutes)
        budget = chosen.minutes if chosen.rationales else 0
        learnt = rationales(name, config, case, budget)
        save(HERE, name, {"rows": rows(config, own, case, found, learnt)})
    report.REPORT.write()
    print(report.REPORT.table())


def measured(
    name: str, config: dict[str, Any], case: Case, minutes: float | None
) -> dict[str, Tensor]:
    """Measure one setting, or go on with it; see `portions.gathered`."""
    own = config["settings"][name]
    asked = {key: config[key] for key in ("methods", "seed")} | {
        "data": own["data"],
        "model": own["model"],
        "portion": own["portion"],
    }
    return gathered(
        WORK / f"decompx-{name}.jsonl",
        asked,
        shuffled(len(case.parts.held_out), own.get("most"), config["seed"]),
        own["portion"],
        lambda rows: measure(config, case, rows),
        minutes,
    )


def rationales(
    name: str, config: dict[str, Any], case: Case, minutes: float | None
) -> dict[str, Tensor]:
    """Train on the rationales of one method after the other.

    Args:
        name: Of the setting.
        config: The configuration.
        case: What is explained.
        minutes: When to stop, before the next method; 0 trains none.

    Returns:
        ``{method: [n]}``, the share of new models that are right, by method so far.
    """
    own = config["settings"][name]
    methods = list(config["published"][own["paper"]][PREDICTION])
    asked = {name: config[name] for name in ("methods", "rationale", "seed")} | {
        name: own[name] for name in ("data", "model", "task")
    }
    share = config["rationale"]["share"][own["task"]]

    def measure_one(places: Sequence[int]) -> Found:
        right = performance(config, case, share, methods[places[0]])
        return {str(i): [one] for i, one in enumerate(right.tolist())}

    # A portion is a method here, and what it has numbers of is examples.
    found = gathered(
        WORK / f"decompx-{name}-rationales.jsonl",
        asked,
        range(len(methods)),
        1,
        measure_one,
        minutes,
    )
    done = len(next(iter(found.values()), ()))
    return {
        method: torch.stack([values[k] for values in found.values()])
        for k, method in enumerate(methods[:done])
    }


def rows(
    config: dict[str, Any],
    own: dict[str, Any],
    case: Case,
    found: dict[str, Tensor],
    learnt: dict[str, Tensor],
) -> list[dict[str, Any]]:
    """Make a row of each metric."""
    context = {
        "data": own["data"],
        "model": own["model"],
        "accuracy": case.accuracy,
        "read_out": "embedding LayerNorm",
        "target": "the predicted class",
        "replacement": "[MASK]; special tokens stay",
        "paper": own["paper"],
    }
    paper, made = config["published"][own["paper"]], []
    for metric, better in config["metrics"].items():
        ours = learnt
        if metric != PREDICTION:
            ours = {name: found[f"{metric} | {name}"] for name in config["methods"]}
        if ours:
            made.append(published.row(context, metric, better, paper[metric], ours))
    return made


if __name__ == "__main__":
    main()
