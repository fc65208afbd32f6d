"""Measure what is not measured yet, and write the page.

``python -m benchmarks.papers.ali --shared DIR [--only NAME] [--minutes M]``
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import published
from ..page import WORK, load_config, save
from ..portions import gathered, shuffled
from . import draw, report
from .cases import CASES, Case
from .run import measure

HERE = Path(__file__).parent
TARGET = "the true class"
SIZES = ("most", "at_protocol", "paper")  # these change no number


def main() -> None:
    """Measure, save after each setting, draw, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="models and data")
    parser.add_argument("--only", metavar="NAME", help="one setting of config.json")
    parser.add_argument("--minutes", type=float, help="when to stop, for each setting")
    chosen = parser.parse_args()
    config = load_config(HERE)
    settings = config["settings"]
    for name in [chosen.only] if chosen.only else settings:
        case = CASES[settings[name]["kind"]](settings[name], chosen.shared)
        found = measured(name, with_methods(config, name), case, chosen.minutes)
        save(HERE, name, found)
    draw.main()
    report.REPORT.write()
    print(report.REPORT.table())


def with_methods(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Add to the configuration the methods that one setting alone has.

    Args:
        config: The configuration.
        name: Of the setting.

    Returns:
        The configuration with the setting's ``"also"`` among the methods.
    """
    also = config["settings"][name].get("also", {})
    return {**config, "everywhere": {**config["everywhere"], **also}}


def measured(
    name: str, config: dict[str, Any], case: Case, minutes: float | None
) -> dict[str, Any]:
    """Measure one setting, or go on with it.

    Args:
        name: Of the setting.
        config: The configuration.
        case: What is explained.
        minutes: When to stop.

    Returns:
        Its rows, and sums of relevance beside outputs.
    """
    own = config["settings"][name]
    asked = {key: config[key] for key in ("everywhere", "where_read", "seed")} | {
        "setting": {k: v for k, v in own.items() if k not in SIZES}
    }
    found = gathered(
        WORK / f"ali-{name}.jsonl",
        asked,
        shuffled(case.number, own.get("most"), config["seed"]),
        own["portion"],
        lambda rows: measure(config, case, rows),
        minutes,
    )
    drawn = {
        key: [round(v, 4) for v in values.tolist()]
        for key, values in found.items()
        if key == "output" or (key.startswith("sum") and key.endswith(draw.WHERE))
    }
    made: dict[str, Any] = {"rows": rows(config, own, case, found)}
    return {**made, "conservation": drawn} if name == draw.SETTING else made


def rows(
    config: dict[str, Any], own: dict[str, Any], case: Case, found: dict[str, Tensor]
) -> list[dict[str, Any]]:
    """Make a row of each read-out and metric."""
    made = []
    paper = config["published"][own["paper"]]
    for where in case.read_outs:
        for metric, better in config["metrics"].items():
            ours = {}
            for method in (*config["everywhere"], *config["where_read"]):
                key = f"{metric} | {method}"
                ours[method] = found.get(key, found.get(f"{key} @ {where}"))
            context = {
                "data": own["data"],
                "model": own["model"],
                "accuracy": case.accuracy,
                "read_out": where,
                "target": TARGET,
                "replacement": case.replacement,
                "paper": own["paper"],
                "at_protocol": own["at_protocol"]
                and where == next(iter(case.read_outs)),
            }
            made.append(
                published.row(context, metric, better, paper.get(metric, {}), ours)
            )
    return made


if __name__ == "__main__":
    main()
