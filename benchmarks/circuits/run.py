"""Compare scores of neurons: ``python -m benchmarks.circuits.run FOLDER [TASK...]``.

FOLDER holds SmolLM2-135M, as ``python -m benchmarks.generation.prepare`` saves it. Each
prompt is a line of ``results.jsonl``; a run that was stopped goes on behind the last.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lrp_hooks.circuits.sites import Site

from ..by_prompt import run
from .case import Case, strongest
from .data import written
from .methods import METHODS

Record = dict[str, Any]


def measured(
    model: nn.Module, tokenizer: Any, task: str, number: int, config: Record
) -> Record | None:
    """Measure a prompt, if the model answers it right, and by its neurons.

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
    if case.whole <= 0 or case.other.shape != case.ids.shape:
        return None
    sites = case.sites()
    others = case.others(sites)
    every = [torch.ones_like(other, dtype=torch.bool) for other in others]
    none = case.left(sites, others, every, remove=True)
    if case.whole - none <= 0.2 * case.whole:
        return None
    found = compared(case, none, sites, others, config["counts"])
    return {"whole": case.whole, "none": none, "methods": found}


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
    run(__doc__, Path(__file__).parent, measured)
