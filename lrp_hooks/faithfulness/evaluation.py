"""Methods of explanation put to the test on many texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from .chunk import Part, evaluate_chunk
from .curve import bootstrap
from .plan import Plan, plan_of
from .protocol import PROTOCOLS
from .results import Results

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluation found.

    Attributes:
        plan: What it was asked to do.
        parts: What each portion of texts brought.
    """

    plan: Plan
    parts: Sequence[Part]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One entry for each text, method, sign and metric, in this order.

        ``{"row", "method", "sign", "metric", "score", "values"}``: the text's number,
        the score, and the curve it sums up, empty for metrics without one.
        """
        every = (entry for part in self.parts for entry in part["rows"])
        return sorted(every, key=lambda entry: entry["row"])

    @property
    def fractions(self) -> dict[str, list[float]]:
        """The share of tokens at each step of a metric's curve."""
        return {
            name: PROTOCOLS[name][0].fractions.tolist()
            for name in self.plan.metrics
            if name in PROTOCOLS
        }

    @property
    def failures(self) -> dict[str, str]:
        """``{method: message}`` of methods that failed on at least one portion."""
        return {k: v for part in self.parts for k, v in part["failures"].items()}

    @property
    def skipped(self) -> Mapping[int, str]:
        """``{row: reason}`` of the texts that do not fit the model."""
        return self.plan.skipped

    @property
    def seconds(self) -> dict[str, float]:
        """CPU seconds that each method's explanations took, and ``"metrics"``."""
        total: dict[str, float] = {}
        for part in self.parts:
            for name, seconds in part["seconds"].items():
                total[name] = total.get(name, 0.0) + seconds
        return total

    @cached_property
    def _summary(self) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
        groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for entry in self.rows:
            key = (entry["method"], entry["sign"], entry["metric"])
            groups.setdefault(key, []).append(entry)
        found: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
        for label in self.plan.methods:
            for sign in self.plan.signs:
                for metric in self.plan.metrics:
                    own = groups.get((label, sign, metric))
                    if own:
                        by_sign = found.setdefault(label, {}).setdefault(sign, {})
                        by_sign[metric] = _summed_up(own)
        return found

    def summary(self) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
        """Average over texts.

        Returns:
            ``{method: {sign: {metric: {"score", "low", "high", "n", "curve"}}}}``: the
            mean, its 95 % bootstrap interval, how many texts have a value, and the
            mean curve.
        """
        return self._summary

    def to_html(self) -> str:
        """Render a self-contained page: tables and curves.

        Returns:
            An HTML document.
        """
        from ..render import evaluation

        return evaluation.page(self)

    def _repr_html_(self) -> str:  # noqa: PLW3201 (the name that notebooks look for)
        """Return a fragment for a notebook."""
        from ..render import evaluation

        return evaluation.fragment(self)

    def to_terminal(self, colour: bool | None = None, width: int | None = None) -> str:
        """Render for a terminal: means with their intervals.

        Args:
            colour: True for the best scores in bold, false for a star behind them.
                Defaults to ``None``: bold on a terminal.
            width: Columns. Defaults to the terminal's own.

        Returns:
            Lines of text, without a newline at the end.
        """
        from ..render import evaluation

        return evaluation.terminal(self, colour=colour, width=width)


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
        The evaluation.
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
    if results is not None:
        results.finish(found)
    return found


def _summed_up(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    scores = torch.tensor([entry["score"] for entry in entries], dtype=torch.float64)
    low, high = bootstrap(scores)
    values = torch.tensor([entry["values"] for entry in entries], dtype=torch.float64)
    return {
        "score": scores.nanmean().item(),
        "low": low,
        "high": high,
        "n": int((~scores.isnan()).sum()),
        "curve": values.mean(0).tolist(),
    }
