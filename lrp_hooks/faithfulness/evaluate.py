"""Methods of explanation put to the test on many texts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from os import PathLike
from typing import Any

from torch import nn
from tqdm import tqdm

from ..errors import LrpHooksWarning
from .chunk import Part, evaluate_chunk
from .evaluation import Evaluation
from .planning import plan_of
from .results import Results

__all__ = ["evaluate"]


def evaluate(
    model: nn.Module,
    tokenizer: Any,
    texts: Sequence[str],
    labels: Sequence[int | str] | None = None,
    *,
    out: str | PathLike[str] | None = None,
    progress: bool = False,
    **options: Any,
) -> Evaluation:
    """Put methods of explanation to the test.

    Args:
        model: A classifier of texts; it is left as it was.
        tokenizer: Its tokenizer.
        texts: At least one.
        labels: The class or label name of each text, if known.
        out: A folder in which every finished portion is kept: the same call takes it
            up where it stopped. Defaults to ``None``: nothing is written.
        progress: Whether to show a bar.
        **options: ``methods``, ``metrics``, ``signs``, ``target``, ``replace_with``,
            ``chunk`` and ``seed`` of `plan_of`.

    Returns:
        The evaluation. If no method works, the reasons of all are an `ArgumentError`.
    """
    plan = plan_of(model, tokenizer, texts, labels, **options)
    chunks = plan.chunks()
    results = None if out is None else Results(out, plan)
    parts: list[Part] = []
    for number, rows in enumerate(tqdm(chunks, disable=not progress, leave=False)):
        part = None if results is None else results.read(number)
        if part is None:
            part = evaluate_chunk(model, tokenizer, plan, rows)
            if results is not None:
                results.write(number, part)
        parts.append(part)
    found = Evaluation(plan, parts)
    found.check()
    for label, why in found.failures.items():
        warnings.warn(f"{label} failed: {why}", LrpHooksWarning, stacklevel=2)
    if results is not None:
        results.finish(found)
    return found
