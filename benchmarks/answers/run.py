"""Compare methods on answers: ``python -m benchmarks.answers.run FOLDER [TASK...]``.

FOLDER holds SmolLM2-135M, as ``python -m benchmarks.generation.prepare`` saves it. Each
prompt is a line of ``results.jsonl``; a run that was stopped goes on behind the last.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from .case import Case
from .data import written
from .methods import HOPS, METHODS, SLOW, available

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
Record = dict[str, Any]
Method = Callable[[Case], tuple[Tensor, float]]


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
            item = written(task, number, config["seed"])
            case = Case(model, tokenizer, item)
            if case.is_right:
                break
        about = {"model": name, "task": task, "number": number, **environment()}
        yield about | {"methods": compared(case, chosen(task, number, config), config)}


def chosen(task: str, number: int, config: Record) -> list[str]:
    """Return the methods that are measured on a prompt.

    Args:
        task: A key of `TASKS`.
        number: The prompt's.
        config: The configuration.
    """
    left_out: set[str] = set() if task == "chain" else set(HOPS)
    if number >= config["slow"].get(task, 0):
        left_out |= set(SLOW)
    return [name for name in available() if name not in left_out]


def known() -> list[Record]:
    """Return what earlier runs saved."""
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


def environment() -> Record:
    """Return what a record was measured with."""
    names = ("torch", "transformers", "lrp_hooks")
    return {"python": platform.python_version(), **{n: version(n) for n in names}}


def compared(case: Case, names: list[str], config: Record) -> dict[str, Record]:
    """Score the sources of a prompt by several methods."""
    kept, truth = case.halves(config["halves"], config["seed"])
    scored = {name: timed(METHODS[name], case) for name in names}
    left_out = scored["leave one out"][0]
    found = {}
    for name, (scores, passes, seconds) in scored.items():
        found[name] = {
            **quality(case, scores, kept, truth, left_out),
            "passes": passes,
            "seconds": seconds,
        }
    return found


def timed(method: Method, case: Case) -> tuple[Tensor, float, float]:
    """Return scores, what they cost in forward passes, and in seconds of the CPU."""
    began = time.process_time()
    scores, passes = method(case)
    return scores, passes, time.process_time() - began


def quality(
    case: Case, scores: Tensor, kept: Any, truth: Tensor, left_out: Tensor
) -> Record:
    """Compare scores with the right sources and with the model's own behaviour.

    Args:
        case: The prompt.
        scores: [S].
        kept: Which sources stayed in each of n random halves, boolean [n, S].
        truth: The log-probabilities without the others, [n].
        left_out: What is lost without each source, [S].

    Returns:
        ``first``: whether the strongest source is right; ``all``: the share of the k
        right sources among the k strongest; ``datamodel``: the linear datamodelling
        score, the rank correlation of the sum of kept scores with the truth;
        ``leaving_out``: rank correlation with leaving out; ``drop``: what is lost
        without the strongest source.
    """
    order = scores.argsort(descending=True).tolist()
    gold = case.item.gold
    predicted = torch.from_numpy(kept).to(torch.float64) @ scores.double()
    return {
        "first": float(order[0] in gold),
        "all": len(set(order[: len(gold)]) & set(gold)) / len(gold),
        "datamodel": float(spearmanr(predicted, truth).statistic),
        "leaving_out": float(spearmanr(scores, left_out).statistic),
        "drop": case.without(order[:1]),
    }


if __name__ == "__main__":
    main()
