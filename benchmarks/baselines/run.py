"""Measure attention methods and LIME: ``python -m benchmarks.baselines.run``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..cost.cases import cases, load_config
from ..cost.methods import FORWARD
from ..cost.report import put, table, time_ratio
from ..cost.run import measure_time, parse_arguments, save, start
from .methods import GAE, MAPS, ROLLOUT, lime_seconds

CONFIG = Path(__file__).with_name("config.json")
RESULTS = Path(__file__).with_name("results.json")
README = Path(__file__).with_name("README.md")
MOST_FORWARDS, MOST_SECONDS = 2.5, 1.0
Results = dict[str, Any]


def main() -> None:
    """Run what the results lack, save, and rewrite the table in this folder's page."""
    arguments = parse_arguments(__doc__)
    config = load_config(arguments.quick, CONFIG)
    torch.set_num_threads(config["threads"])
    path = arguments.output or (None if arguments.quick else RESULTS)
    results = start(path, config, arguments.fresh)
    for case in cases(config):
        measure_time(results, case)
    if "lime_limit" not in results:
        results["lime_limit"] = lime_seconds(config)
    save(results, path)
    text = summary(results)
    print(text)
    if path == RESULTS:
        readme = put(README.read_text(encoding="utf-8"), "baselines", text)
        README.write_text(readme, encoding="utf-8")


def summary(results: Results) -> str:
    """Write the costs beside their targets.

    Args:
        results: What a run saved.

    Returns:
        Markdown.
    """
    columns = {
        f"{name}, forwards": lambda entry, name=name: time_ratio(entry, name, FORWARD)
        for name in (MAPS, ROLLOUT, GAE)
    }
    worst = max(
        time_ratio(entry, name, FORWARD)
        for entry in results["cases"].values()
        for name in (ROLLOUT, GAE)
    )
    config, seconds = results["config"], min(results["lime_limit"])
    return "\n\n".join([
        table(results, columns),
        f"* rollout and GAE: at most {worst:.2f} forward passes "
        f"({verdict(worst, MOST_FORWARDS)}).\n"
        f"* exact limit of LIME, {config['words']} words and {config['heads']} heads: "
        f"{seconds:.2f} s of CPU time ({verdict(seconds, MOST_SECONDS)}).",
        f"1 thread of {results['environment']['cpu']}, torch "
        f"{results['environment']['torch']}; {results['date']}.",
    ])


def verdict(value: float, limit: float) -> str:
    """Say whether a target was met."""
    return f"target {limit:.2f}, {'met' if value <= limit else 'missed'}"


if __name__ == "__main__":
    main()
