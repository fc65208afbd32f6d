"""A language model measured prompt by prompt; a run that was stopped goes on.

A benchmark's folder holds ``config.json`` (``threads``, and how many ``prompts`` a task
has) and ``results.jsonl``, a line a prompt.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

__all__ = ["by_task", "environment", "interval", "read", "run", "versions"]

PACKAGES = ("torch", "transformers", "lrp_hooks")
Record = dict[str, Any]
Measure = Callable[[nn.Module, Any, str, int, Record], Record | None]
"""Measures prompt ``number`` of a task; None for one that is left out."""


def run(about: str | None, here: Path, measure: Measure) -> None:
    """Measure the tasks that the command line names, all by default.

    Args:
        about: What the command does.
        here: The benchmark's folder.
        measure: Called with the model, its tokenizer, the task, the number and the
            configuration.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("tasks", nargs="*", metavar="TASK")
    parser.add_argument("--most", type=int, help="prompts of a task in this run")
    arguments = parser.parse_args()
    config = json.loads((here / "config.json").read_text(encoding="utf-8"))
    torch.set_num_threads(config["threads"])
    model = AutoModelForCausalLM.from_pretrained(arguments.folder, dtype=torch.float32)
    model.eval().requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(arguments.folder)
    results, name = here / "results.jsonl", Path(arguments.folder).name
    for task in arguments.tasks or config["prompts"]:
        done = [
            record["number"]
            for record in (read(results) if results.exists() else [])
            if (record["model"], record["task"]) == (name, task)
        ]
        left = config["prompts"][task] - len(done)
        most = left if arguments.most is None else min(left, arguments.most)
        numbers = count(max(done, default=-1) + 1)
        found = _found(measure, model, tokenizer, task, numbers, config)
        for number, record in islice(found, most):
            about_it = {"model": name, "task": task, "number": number, **environment()}
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(about_it | record) + "\n")
            print(task, number, flush=True)


def _found(
    measure: Measure,
    model: nn.Module,
    tokenizer: Any,
    task: str,
    numbers: Iterator[int],
    config: Record,
) -> Iterator[tuple[int, Record]]:
    """Return the prompts that are not left out, each with what was found."""
    for number in numbers:
        record = measure(model, tokenizer, task, number, config)
        if record is not None:
            yield number, record


def read(results: Path) -> list[Record]:
    """Return what runs saved, a record a prompt."""
    lines = results.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def environment() -> Record:
    """Return what a record is measured with."""
    return {"python": platform.python_version(), **{n: version(n) for n in PACKAGES}}


def versions(record: Record) -> str:
    """Write what a record was measured with."""
    return ", ".join(f"{name} {record[name]}" for name in ("python", *PACKAGES))


def by_task(records: list[Record]) -> dict[tuple[str, str], list[Record]]:
    """Sort records by model and task, in the order in which these come."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        found.setdefault((record["model"], record["task"]), []).append(record)
    return found


def interval(values: Any) -> str:
    """Write a mean with its 95 % bootstrap interval; of one value there is none."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    draw = np.random.default_rng(0)
    samples = draw.choice(values, (2000, len(values))).mean(1)
    low, high = np.quantile(samples, [0.025, 0.975])
    return f"{np.mean(values):.2f} [{low:.2f}, {high:.2f}]"
