"""Compare methods on answers: ``python -m benchmarks.answers.run FOLDER [TASK...]``.

FOLDER holds a model, as ``python -m benchmarks.generation.prepare`` saves it. Each
prompt is a line of ``results.jsonl``; a run that was stopped goes on behind the last.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from ..by_prompt import run
from .case import Case
from .data import written
from .methods import COMPARED, HOPS, METHODS, SLOW, available

Record = dict[str, Any]
Method = Callable[[Case], tuple[Tensor, float]]


def measured(
    model: nn.Module, tokenizer: Any, task: str, number: int, config: Record
) -> Record | None:
    """Measure a prompt, if the model answers it right.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        task: A key of `TASKS`.
        number: The prompt's.
        config: The configuration.

    Returns:
        What is saved of it.
    """
    case = Case(model, tokenizer, written(task, number, config["seed"]))
    if not case.is_right:
        return None
    name = Path(model.config.name_or_path).name  # type: ignore[union-attr]
    return {"methods": compared(case, chosen(name, task, number, config), config)}


def chosen(model: str, task: str, number: int, config: Record) -> list[str]:
    """Return the methods that are measured on a prompt.

    Args:
        model: The name of the model's folder.
        task: A key of `TASKS`.
        number: The prompt's.
        config: The configuration.
    """
    left_out: set[str] = set() if task == "chain" else set(HOPS)
    if number >= config["slow"].get(task, 0):
        left_out |= set(SLOW)
    if model != config["model"] or number >= config["all"].get(task, 0):
        left_out |= set(METHODS) - set(COMPARED)
    left_out |= set(config["never"].get(task, ()))
    return [name for name in available() if name not in left_out]


def compared(case: Case, names: list[str], config: Record) -> dict[str, Record]:
    """Score the sources of a prompt by several methods."""
    kept, truth = case.halves(config["halves"], config["seed"])
    scored = {name: timed(METHODS[name], case) for name in names}
    left_out = scored["leave one out"][0] if "leave one out" in scored else None
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
    case: Case, scores: Tensor, kept: Any, truth: Tensor, left_out: Tensor | None
) -> Record:
    """Compare scores with the right sources and with the model's own behaviour.

    Args:
        case: The prompt.
        scores: [S].
        kept: Which sources stayed in each of n random halves, boolean [n, S].
        truth: The log-probabilities without the others, [n].
        left_out: What is lost without each source, [S]; None where that is too dear.

    Returns:
        ``first``: whether the strongest source is right; ``all``: the share of the k
        right sources among the k strongest; ``datamodel``: the linear datamodelling
        score, the rank correlation of the sum of kept scores with the truth;
        ``leaving_out``: rank correlation with leaving out, nan without it; ``drop``:
        what is lost without the strongest source.
    """
    order = scores.argsort(descending=True).tolist()
    gold = case.item.gold
    predicted = torch.from_numpy(kept).to(torch.float64) @ scores.double()
    return {
        "first": float(order[0] in gold),
        "all": len(set(order[: len(gold)]) & set(gold)) / len(gold),
        "datamodel": float(spearmanr(predicted, truth).statistic),
        "leaving_out": float("nan")
        if left_out is None
        else float(spearmanr(scores, left_out).statistic),
        "drop": case.without(order[0]),
    }


if __name__ == "__main__":
    run(__doc__, Path(__file__).parent, measured)
