"""Compare scores of neurons: ``python -m benchmarks.circuits.run FOLDER [TASK...]``.

FOLDER holds SmolLM2-135M, as ``python -m benchmarks.generation.prepare`` saves it. Each
prompt is a line of ``results.jsonl``; a run that was stopped goes on behind the last.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from lrp_hooks.circuits.sites import Site

from .case import Case, strongest
from .data import written
from .methods import METHODS

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
Record = dict[str, Any]


def main() -> None:
    """Measure the tasks that are named, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("tasks", nargs="*", metavar="TASK")
    parser.add_argument("--most", type=int, help="prompts of a task in this run")
    arguments = parser.parse_args()
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    torch.set_num_threads(config["threads"])
    model = AutoModelForCausalLM.from_pretrained(arguments.folder, dtype=torch.float32)
    model.requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(arguments.folder)
    name = Path(arguments.folder).name
    for task in arguments.tasks or config["prompts"]:
        records = measured(model.eval(), tokenizer, name, task, config)
        for record in islice(records, arguments.most):
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            print(task, record["number"], flush=True)


def measured(
    model: nn.Module, tokenizer: Any, name: str, task: str, config: Record
) -> Iterator[Record]:
    """Measure the prompts of a task that the model answers right.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        name: The model's.
        task: A key of `TASKS`.
        config: The configuration.

    Yields:
        What is saved of each prompt.
    """
    done = [r for r in known() if (r["model"], r["task"]) == (name, task)]
    number = max((r["number"] for r in done), default=-1)

    for _ in range(config["prompts"][task] - len(done)):
        while True:
            number += 1
            case = Case(model, tokenizer, written(task, number, config["seed"]))
            if case.whole <= 0 or case.other.shape != case.ids.shape:
                continue
            sites = case.sites()
            others = case.others(sites)
            every = [torch.ones_like(other, dtype=torch.bool) for other in others]
            none = case.left(sites, others, every, remove=True)
            if case.whole - none > 0.2 * case.whole:
                break
        about = {"model": name, "task": task, "number": number, **environment()}
        found = compared(case, none, sites, others, config["counts"])
        yield about | {"whole": case.whole, "none": none, "methods": found}


def known() -> list[Record]:
    """Return what earlier runs saved."""
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


def environment() -> Record:
    """Return what a record was measured with."""
    names = ("torch", "transformers", "lrp_hooks")
    return {"python": platform.python_version(), **{n: version(n) for n in names}}


def compared(
    case: Case,
    none: float,
    sites: Sequence[Site],
    others: Sequence[Tensor],
    counts: Sequence[int],
) -> dict[str, Record]:
    """Score the neurons of a prompt by every method, and keep and remove the strongest.

    Args:
        case: The prompt.
        none: The logit difference with all neurons ablated.
        sites: Where neurons stand.
        others: What they are when ablated.
        counts: How many are kept, or removed.

    Returns:
        ``faithfulness`` and ``completeness`` for each count: what is left of the logit
        difference, 1 where nothing is ablated and 0 where all is; ``passes``: CPU time
        in plain backward passes.
    """
    plain = min(case.backward_seconds() for _ in range(3))
    found = {}
    for name, method in METHODS.items():
        began = time.process_time()
        scores = method(case, sites, others)
        seconds = time.process_time() - began
        record: Record = {"passes": seconds / plain}
        for kind, remove in (("faithfulness", False), ("completeness", True)):
            record[kind] = [
                (case.left(sites, others, strongest(scores, count), remove) - none)
                / (case.whole - none)
                for count in counts
            ]
        found[name] = record
    return found


if __name__ == "__main__":
    main()
