"""Measure CPU time and peak memory: ``python -m benchmarks.cost.run [--quick]``."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from . import memory, report, timing
from .cases import Case, build_model, cases, load_config, random_batch
from .methods import methods_of

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.json")
Results = dict[str, Any]


def main() -> None:
    """Run what the results lack, save after each case, print the tables."""
    arguments = parse_arguments()
    config = load_config(arguments.quick)
    torch.set_num_threads(config["threads"])
    path = arguments.output or (None if arguments.quick else RESULTS)
    results = start(path, config, arguments.fresh)
    for case in cases(config):
        measure_time(results, case)
        save(results, path)
    for case in cases(config):
        measure_memory(results, case)
        save(results, path)
    print(report.details(results))


def parse_arguments(description: str | None = __doc__) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="smoke run, not saved")
    parser.add_argument("--fresh", action="store_true", help="measure all cases anew")
    parser.add_argument("--output", type=Path, help="where results are saved")
    return parser.parse_args()


def start(path: Path | None, config: dict[str, Any], fresh: bool) -> Results:
    """Take up earlier results, or begin new ones.

    Args:
        path: Where results are kept, if anywhere.
        config: This run's configuration.
        fresh: Whether to drop earlier results.

    Returns:
        Results to be completed.

    Raises:
        SystemExit: If earlier results were measured with other settings or versions.
    """
    new = {"environment": environment(config), "config": config, "cases": {}}
    if fresh or path is None or not path.exists():
        return new | {"date": datetime.now(timezone.utc).date().isoformat()}
    old: Results = json.loads(path.read_text(encoding="utf-8"))
    for key in ("environment", "config"):
        if old[key] != new[key]:
            raise SystemExit(
                f"{path}: its {key} is not this run's; pass --fresh to measure anew.\n"
                f"  there: {old[key]}\n  here:  {new[key]}"
            )
    return old


def environment(config: dict[str, Any]) -> dict[str, Any]:
    """Describe what the numbers depend on, besides the configuration."""
    packages = ("torch", "transformers", "lrp_hooks")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "source": source_digest(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": config["threads"],
    }


def source_digest() -> str:
    """Tell one state of the library's code from another of the same version."""
    digest = hashlib.sha256()
    for path in sorted([*ROOT.glob("lrp_hooks/**/*.py"), *ROOT.glob("rules/**/*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def cpu_model() -> str:
    """Name the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()


def measure_time(results: Results, case: Case) -> None:
    """Add a case's CPU seconds to the results, unless they are there."""
    entry = results["cases"].setdefault(case.name, vars(case).copy())
    if "seconds" in entry:
        return
    config = results["config"]
    model = build_model(config, case.model)
    entry["modules"] = len(list(model.modules()))
    table = methods_of(config)
    warm_up = random_batch(model, case.warm_up(), config["seed"])
    batch = random_batch(model, case, config["seed"])
    for method in table.values():
        timing.timed(method, model, warm_up)
    seconds = timing.interleave(
        {name: partial(timing.timed, run, model, batch) for name, run in table.items()},
        budget=config["seconds_per_case"],
        rounds=(config["min_rounds"], config["max_rounds"]),
    )
    entry["seconds"] = {
        name: [round(value, 6) for value in values] for name, values in seconds.items()
    }
    print(f"{case.name}: {len(seconds['forward'])} rounds", flush=True)


def measure_memory(results: Results, case: Case) -> None:
    """Add a case's peaks to the results, one process a method, a core each."""
    entry = results["cases"].setdefault(case.name, vars(case).copy())
    if "peak_bytes" in entry:
        return
    config = results["config"]
    names = list(methods_of(config))
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        peaks = pool.map(partial(memory.measure, config, case), names)
        entry["peak_bytes"] = dict(zip(names, peaks, strict=True))
    print(f"{case.name}: memory", flush=True)


def save(results: Results, path: Path | None) -> None:
    """Write the results whole or not at all."""
    if path is None:
        return
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


if __name__ == "__main__":
    main()
