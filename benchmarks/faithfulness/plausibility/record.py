"""What a run writes down, and how it goes on where it stopped."""

from __future__ import annotations

import argparse
import json
import platform
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrp_hooks.faithfulness import bootstrap

Results = dict[str, Any]
PACKAGES = ("torch", "transformers", "captum", "lrp_hooks")


def arguments(description: str | None) -> argparse.Namespace:
    """Read the command line of a benchmark on shared models."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--shared", type=Path, required=True, help="models and data")
    parser.add_argument("--fresh", action="store_true", help="measure all anew")
    return parser.parse_args()


def start(path: Path, config: dict[str, Any], fresh: bool) -> Results:
    """Take up earlier results, or begin new ones.

    What was measured of a model by a method is kept as long as the configuration says
    the same of both, whatever other models and methods it names.

    Args:
        path: Where results are.
        config: This run's configuration.
        fresh: Whether to drop earlier results.

    Returns:
        Results to be completed.
    """
    if path.exists() and not fresh:
        old: Results = json.loads(path.read_text(encoding="utf-8"))
        if _rest(old["config"]) == _rest(config):
            return old | {"config": config, "models": _kept(old, config)}
    return {
        "config": config,
        "environment": {
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
            "threads": torch.get_num_threads(),
        },
        "date": datetime.now(timezone.utc).date().isoformat(),
        "models": {},
    }


def _rest(config: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k not in {"models", "methods"}}


def _kept(old: Results, config: dict[str, Any]) -> Results:
    """Drop models and methods of which the configuration says something else now."""
    kept = {}
    for model, part in old["models"].items():
        if config["models"].get(model) == old["config"]["models"][model]:
            kept[model] = part | {
                "methods": {
                    name: entry
                    for name, entry in part["methods"].items()
                    if config["methods"].get(name) == old["config"]["methods"][name]
                }
            }
    return kept


def save(path: Path, results: Results) -> None:
    """Write the results whole or not at all."""
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


def summary(values: Tensor, confidence: float) -> dict[str, float]:
    """Sum up one number an example.

    Args:
        values: ``[B]``; NaN where an example has none.
        confidence: Of the bootstrap interval of the mean.

    Returns:
        The mean, the bounds of its interval, and how many examples have a value.
    """
    low, high = bootstrap(values, confidence)
    mean = float(values.double().nanmean())
    found = {"mean": mean, "low": low, "high": high}
    return {
        **{name: round(value, 4) for name, value in found.items()},
        "n": int((~values.isnan()).sum()),
    }


def rows(head: list[str], lines: list[list[str]]) -> str:
    """Write a Markdown table whose first column is text."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *lines])


def number(entry: dict[str, float], digits: int = 3) -> str:
    """Write a mean and its interval."""
    mean, low, high = (f"{entry[name]:.{digits}f}" for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def environment(results: Results) -> str:
    """Write what was run, and what a run that was stopped has left open."""
    about = results["environment"]
    listed = ", ".join(f"{name} {about[name]}" for name in about if name != "threads")
    left = [
        f"{method} ({model})"
        for model in results["config"]["models"]
        for method in results["config"]["methods"]
        if method not in results["models"].get(model, {"methods": {}})["methods"]
    ]
    missing = f" Not measured yet: {', '.join(left)}." if left else ""
    return f"{listed}; {about['threads']} thread; {results['date']}.{missing}"
