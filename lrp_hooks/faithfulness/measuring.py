"""The portions of an evaluation, measured wherever an engine does them."""

from __future__ import annotations

from contextlib import closing, nullcontext
from dataclasses import dataclass

from tqdm import tqdm

from ..many.engines import Engine
from ..many.models import Travelling
from ..many.warned import Warned, note, tell, warned
from .chunk import Part, evaluate_chunk
from .plan import Plan
from .results import Results

__all__ = ["measured"]

Job = tuple[int, tuple[int, ...]]
"""The number of a portion, and its rows."""


@dataclass(frozen=True)
class _Measuring:
    """Measures a portion, in whichever process."""

    model: Travelling
    plan: Plan

    def __call__(self, job: Job) -> tuple[Part, list[Warned]]:
        with warned() as found:
            part = evaluate_chunk(*self.model.pair, self.plan, job[1])
        return part, found


def measured(
    model: Travelling, plan: Plan, results: Results | None, engine: Engine, bar: tqdm
) -> list[Part]:
    """Measure the portions that are still to be done, and keep each as it comes.

    Args:
        model: The model.
        plan: What is evaluated.
        results: Where finished portions are kept, if anywhere.
        engine: Where to measure.
        bar: Counts texts.

    Returns:
        What each portion brought, in their order.
    """
    # Two runs of one evaluation would measure everything twice.
    with nullcontext() if results is None else results.claimed():
        return _measured(model, plan, results, engine, bar)


def _measured(
    model: Travelling, plan: Plan, results: Results | None, engine: Engine, bar: tqdm
) -> list[Part]:
    parts: dict[int, Part] = {}
    chunks = plan.chunks()
    for number, rows in enumerate(chunks):
        part = None if results is None else results.read(number)
        if part is not None:
            parts[number] = part
            bar.update(len(rows))
    jobs = [(n, rows) for n, rows in enumerate(chunks) if n not in parts]
    told: set[Warned] = set()
    folder = None if results is None else results.folder
    with closing(engine.map(_Measuring(model, plan), jobs, folder)) as done:
        for (number, rows), (part, found) in done:
            if results is not None:
                results.write(number, part)
            parts[number] = part
            note(told, found)
            bar.update(len(rows))
    tell(told)
    return [parts[number] for number in range(len(chunks))]
