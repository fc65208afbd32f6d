"""Methods of explanation put to the test on many texts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from os import PathLike
from typing import Any

from torch import nn
from tqdm import tqdm

from ..errors import LrpHooksWarning
from ..many.engines import as_engine
from ..many.models import Travelling
from .evaluation import Evaluation
from .measuring import measured
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
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    num_gpus: float = 0,
    **options: Any,
) -> Evaluation:
    """Put methods of explanation to the test.

    Args:
        model: A classifier of texts; it is left as it was.
        tokenizer: Its tokenizer.
        texts: At least one.
        labels: The class or label name of each text, if known.
        out: A folder in which every finished portion is kept: the same call takes it
            up where it stopped, one call at a time. Defaults to ``None``: nothing is
            written.
        progress: Whether to show a bar.
        workers: How many processes, or actors on Ray, of one thread each.
        engine: ``"local"`` for this machine, ``"ray"`` for a Ray cluster.
        address: The cluster's, see `explain_many`.
        num_gpus: How many GPUs each actor has; from 1 on, the model runs there.
        **options: ``methods``, ``metrics``, ``signs``, ``target``, ``replace_with``,
            ``chunk`` and ``seed`` of `plan_of`.

    Returns:
        The evaluation. If no method works, the reasons of all are an `ArgumentError`.
    """
    where = as_engine(engine, workers, address, num_gpus)
    plan = plan_of(model, tokenizer, texts, labels, **options)
    results = None if out is None else Results(out, plan)
    with tqdm(
        total=len(plan.lengths) - len(plan.skipped),
        unit="text",
        disable=not progress,
        leave=False,
    ) as bar:
        parts = measured(Travelling(model, tokenizer), plan, results, where, bar)
    found = _checked(Evaluation(plan, parts))
    if results is not None:
        results.finish(found)
    return found


def _checked(found: Evaluation) -> Evaluation:
    """Tell of methods that failed."""
    found.check()
    for label, why in found.failures.items():
        warnings.warn(f"{label} failed: {why}", LrpHooksWarning, stacklevel=3)
    return found
