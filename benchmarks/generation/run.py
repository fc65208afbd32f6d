"""Measure what generation costs to explain: ``python -m benchmarks.generation.run``."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..cost import memory
from ..cost.cases import Case, cases, load_config
from ..cost.run import measure_time, parse_arguments, save, start
from .methods import PEAKS
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
    for measure in (measure_peaks, measure_time):
        for case in cases(config):
            results["cases"].setdefault(case.name, vars(case).copy())
            measure(results, case)
            save(results, path)
    print(table(results))


def measure_peaks(results: dict[str, Any], case: Case) -> None:
    """Add a case's peaks to the results, one process a method, a core each."""
    entry = results["cases"][case.name]
    if "peak_bytes" in entry:
        return
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        peaks = pool.map(partial(memory.measure, results["config"], case), PEAKS)
        entry["peak_bytes"] = dict(zip(PEAKS, peaks, strict=True))
    print(f"{case.name}: memory", flush=True)


if __name__ == "__main__":
    main()
