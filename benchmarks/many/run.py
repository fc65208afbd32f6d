"""Measure texts a second and peak memory.

``python -m benchmarks.many.run --shared DIR [--quick]``; each run is a process.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from datetime import datetime, timezone
from importlib.metadata import version
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas
import torch

from lrp_hooks.sentiment import sentiment_model

from ..cost.run import cpu_model
from . import report
from .methods import METHODS

CONFIG = Path(__file__).with_name("config.json")
ROOT = Path(__file__).resolve().parents[2]
FEW = 2
"""Texts of a call that shows what beginning and ending cost."""
Task = dict[str, Any]
_PROCESSES = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def main() -> None:
    """Run every method on every size, save, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="models and data")
    parser.add_argument("--quick", action="store_true", help="few texts, not saved")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    path = arguments.shared / config["data"]
    if arguments.task:
        print(json.dumps(measured(json.loads(arguments.task), path, config["column"])))
        return
    if arguments.quick:
        config["sizes"] = {"20": 1}
    results = {
        "environment": environment(),
        "entries": entries(config, arguments.shared),
    }
    if not arguments.quick:
        text = json.dumps(results, indent=1) + "\n"
        report.RESULTS.write_text(text, encoding="utf-8")
    print(report.table(results))


def entries(config: dict[str, Any], shared: Path) -> list[Task]:
    """Measure all, methods taking turns."""
    found: list[Task] = []
    names = [
        name
        for name in config["methods"]
        if "Ray" not in name or find_spec("ray") is not None
    ]
    for size, rounds in config["sizes"].items():
        for turn in range(rounds):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                batches = config["batches"] if name == "plain" else [0]
                for batch in batches:
                    task = {"method": name, "size": int(size), "batch": batch}
                    found.append(task | apart(task, shared))
                    print(found[-1], file=sys.stderr, flush=True)
    return found


def apart(task: Task, shared: Path) -> Task:
    """Measure in a fresh process."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.many.run", "--shared", str(shared)),
            *("--task", json.dumps(task)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found: Task = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(task: Task, path: Path, column: str) -> Task:
    """Measure one run: seconds, those of a run on next to nothing, and peak memory."""
    torch.set_num_threads(1)
    texts = pandas.read_parquet(path)[column].tolist()
    texts = list(islice(cycle(texts), task["size"]))
    model, tokenizer = sentiment_model()
    method = METHODS[task["method"]]

    def seconds(own: list[str]) -> tuple[float, float]:
        with TemporaryDirectory() as out:
            start = (time.perf_counter(), cpu_seconds())
            method(model, tokenizer, own, Path(out), task["batch"])
            return time.perf_counter() - start[0], cpu_seconds() - start[1]

    if "2" not in task["method"]:
        seconds(texts[:FEW])  # code is read from disk
    few, whole = seconds(texts[:FEW]), seconds(texts)
    return {
        "startup": round(few[0], 3),
        "seconds": round(whole[0], 3),
        "cpu": round(whole[1] - few[1], 3),
        "peak_bytes": 1024
        * sum(resource.getrusage(who).ru_maxrss for who in _PROCESSES),
    }


def cpu_seconds() -> float:
    """Return what this process and its ended children have used."""
    used = [resource.getrusage(who) for who in _PROCESSES]
    return sum(each.ru_utime + each.ru_stime for each in used)


def environment() -> dict[str, Any]:
    """Say where and when."""
    names = ("torch", "transformers", "lrp_hooks")
    return {
        "cpu": cpu_model(),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        "ray": version("ray") if find_spec("ray") else None,
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


if __name__ == "__main__":
    main()
