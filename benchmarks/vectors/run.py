"""Measure vectors and maps: ``python -m benchmarks.vectors.run [--quick]``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ..cost.cases import QUICK, QUICK_LAYERS, cases
from ..cost.run import measure_memory, measure_time, parse_arguments, save, start
from .report import table

CONFIG = Path(__file__).with_name("config.json")
RESULTS = Path(__file__).with_name("results.json")
PARTS = ("vectors", "maps")


def load(quick: bool) -> dict[str, Any]:
    """Read the configuration of both parts.

    Args:
        quick: Shrink it to a smoke run.

    Returns:
        A configuration each.
    """
    config: dict[str, Any] = json.loads(CONFIG.read_text(encoding="utf-8"))
    for part in PARTS if quick else ():
        config[part] |= QUICK
        for shape in config[part]["models"].values():
            shape["config"]["num_hidden_layers"] = QUICK_LAYERS
    return config


def main() -> None:
    """Run what the results lack, save after each case, print the tables."""
    arguments = parse_arguments(__doc__)
    config = load(arguments.quick)
    torch.set_num_threads(1)
    path = arguments.output or (None if arguments.quick else RESULTS)
    for part in PARTS:
        own = None if path is None else path.with_stem(f"{path.stem}-{part}")
        results = start(own, config[part], arguments.fresh)
        for measure in (measure_time, measure_memory):
            for case in cases(config[part]):
                measure(results, case)
                save(results, own)
        print(table(part, results))


if __name__ == "__main__":
    main()
