"""Measure DecompX beside a forward pass: ``python -m benchmarks.decompx.run``."""

from __future__ import annotations

from pathlib import Path

import torch

from ..cost.cases import cases, load_config
from ..cost.run import measure_memory, measure_time, parse_arguments, save, start
from .report import table

CONFIG = Path(__file__).with_name("config.json")
RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    """Run what the results lack, save after each case, print the table."""
    arguments = parse_arguments(__doc__)
    config = load_config(arguments.quick, CONFIG)
    torch.set_num_threads(config["threads"])
    path = arguments.output or (None if arguments.quick else RESULTS)
    results = start(path, config, arguments.fresh)
    for measure in (measure_time, measure_memory):
        for case in cases(config):
            measure(results, case)
            save(results, path)
    print(table(results))


if __name__ == "__main__":
    main()
