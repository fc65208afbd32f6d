"""What an evaluation found: means with their intervals, and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from ..errors import ArgumentError
from ..results.shown import Page, Printed
from ..views.evaluation import Report
from .chunk import Part
from .curve import bootstrap
from .plan import BETTER, Plan
from .protocol import PROTOCOLS

__all__ = ["Evaluation"]


@dataclass(frozen=True, eq=False)
class Evaluation(Page, Printed):
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

    def check(self) -> None:
        """Refuse an evaluation that found nothing.

        Raises:
            ArgumentError: If no method works; the message has the reason of each.
        """
        if not self.rows:
            reasons = " ".join(f"{name}: {why}" for name, why in self.failures.items())
            raise ArgumentError(f"none of the methods works on this model. {reasons}")

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

    def view(self) -> Report:
        """Collect what there is to show.

        Returns:
            Plain numbers and strings.
        """
        summary, plan = self.summary(), self.plan
        return Report(
            texts=len(plan.texts) - len(self.skipped),
            methods=tuple(plan.methods),
            target=plan.target,
            replacements=plan.replacements,
            better=BETTER,
            scores={
                sign: {
                    label: own[sign] for label, own in summary.items() if sign in own
                }
                for sign in plan.signs
            },
            fractions=self.fractions,
            seconds=self.seconds,
            shown=sum(part["shown"] for part in self.parts),
            failures=self.failures,
            skipped=self.skipped,
        )


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
