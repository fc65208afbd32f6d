"""Measure what is not measured yet, and write the page.

``python -m benchmarks.papers.decompx --shared DIR [--only NAME] [--minutes M]``
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import published
from ..page import WORK, load_config, save
from ..portions import gathered, shuffled
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
        learnt = rationales(name, config, case) if chosen.rationales else {}
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


def rationales(name: str, config: dict[str, Any], case: Case) -> dict[str, Tensor]:
    """Train on rationales where a setting has them, or return what did."""
    own = config["settings"][name]
    asked = {name: config[name] for name in ("methods", "rationale", "seed")} | {
        name: own[name] for name in ("data", "model", "task")
    }
    known = config["published"][own["paper"]][PREDICTION]
    config = {**config, "published_methods": [*known, "Random"]}
    share = config["rationale"]["share"][own["task"]]
    return gathered(
        WORK / f"decompx-{name}-rationales.jsonl",
        asked,
        [0],
        1,
        lambda _: {k: v.tolist() for k, v in performance(config, case, share).items()},
    )


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
