"""Several methods, or classes, over the same input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .explanation import Picture, Strip, View

__all__ = ["Maps", "Price", "SideBySide"]

Maps = Mapping[str, tuple[Picture, float]]
"""``{label: (map, scale)}``."""


@dataclass(frozen=True)
class Price:
    """What a method cost.

    Attributes:
        calls: How often the model was called.
        sequences: How many examples it was shown, over all calls.
        seconds: CPU seconds.
    """

    calls: int
    sequences: int
    seconds: float


@dataclass(frozen=True)
class SideBySide:
    """Methods beside each other.

    Attributes:
        views: ``{label: explanation}``.
        agreement: The rank correlation of each label with each, NaN for none.
        costs: ``{label: price}``.
        notes: ``{label: sentence}`` of those that say what they are worth.
        failures: ``{label: reason}`` of those that are left out.
        rows: What a row of the page is: ``"tokens"`` or ``"methods"``.
    """

    views: Mapping[str, View]
    agreement: Sequence[Sequence[float]]
    costs: Mapping[str, Price]
    notes: Mapping[str, str]
    failures: Mapping[str, str]
    rows: str = "tokens"

    @property
    def batch(self) -> int:
        """How many examples there are."""
        return len(next(iter(self.views.values())).examples)

    def told(self, b: int) -> str:
        """Return what is explained of one example, each target once."""
        targets = (each.examples[b].told for each in self.views.values())
        return ", ".join(dict.fromkeys(targets))

    def marked(self, between: str) -> dict[str, str]:
        """Return each label, with a mark behind it where scores are of no class."""
        return {
            label: label if each.of_target else f"{label}{between}(of no class)"
            for label, each in self.views.items()
        }

    def strips(self, b: int) -> dict[str, Strip]:
        """Return each method's scores of one text."""
        strips = {}
        for label, each in self.views.items():
            part = each.examples[b].parts[0]
            assert isinstance(part, Strip)
            strips[label] = part
        return strips

    def maps(self, b: int) -> Maps:
        """Return each method's scores of one image with their scale; none of a text."""
        parts = {label: each.examples[b].parts[0] for label, each in self.views.items()}
        maps = {k: part for k, part in parts.items() if isinstance(part, Picture)}
        scales = self.scales(maps)
        return {label: (maps[label], scales[label]) for label in maps}

    def scales(
        self, parts: Mapping[str, Strip] | Mapping[str, Picture]
    ) -> dict[str, float]:
        """Return each method's scale; what one says of several classes has one."""
        scales: dict[str, float] = {}
        for label, part in parts.items():
            method = self.views[label].method
            scales[method] = max(scales.get(method, 0.0), _largest(part))
        return {label: scales[self.views[label].method] for label in parts}


def _largest(part: Strip | Picture) -> float:
    """Return the largest score of a pixel, or of a token that is not special."""
    if isinstance(part, Picture):
        return float(part.scores.abs().max())
    pairs = zip(part.scores, part.special, strict=True)
    plain = [abs(score) for score, special in pairs if not special]
    return max(plain or map(abs, part.scores), default=0.0)
