"""Relevance: an explanation that accounts for the whole output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError
from .explanation import Explanation
from .ledger import Ledger, summed, wide
from .words import Grouping

__all__ = ["Relevance"]


@dataclass(kw_only=True, eq=False, repr=False)
class Relevance(Explanation):
    """An explanation that accounts for the whole output.

    Args:
        values: Relevance of every input element, in the shape of what was read
            (``[B, T, D]`` for text); a dictionary by name for several tensors.
        layers: Relevance of the outputs of modules, ``{module name: Tensor}``.
        ledger: Where every bit of the output went.
    """

    values: Tensor | dict[str, Tensor]
    layers: dict[str, Tensor] = field(default_factory=dict)
    ledger: Ledger

    def complete(self, bias: str = "site") -> Tensor:
        """Give the relevance of the sources back to the inputs.

        Args:
            bias: How it is shared. ``"site"``: at the position where it was added, and
                what has no position equally; ``"equal"``: equally; ``"first"``: to the
                first position; ``"abs"``: in proportion to ``|score|``; ``"none"``:
                not at all. Only attended positions get a share, and of several
                choices those of the choice that a source was added to. Defaults to
                ``"site"``.

        Returns:
            Scores in their own shape that sum to ``ledger.total`` (but for
            ``"none"``).

        Raises:
            ArgumentError: If ``bias`` is unknown, several tensors were read, or what
                was read has other rows than there are examples.
        """
        if bias not in _SHARES:
            raise ArgumentError(
                f"bias must be one of {', '.join(map(repr, _SHARES))}, got {bias!r}."
            )
        if not isinstance(self.scores, Tensor):
            raise ArgumentError(
                "complete() needs relevance read at one tensor, got scores of "
                f"{', '.join(map(repr, self.scores))}. Read one tensor, for example "
                f"with wrt={next(iter(self.scores), '')!r}."
            )
        if len(self.scores) != len(self.ledger.output):
            raise ArgumentError(
                "complete() needs one row of scores an example, got "
                f"{len(self.scores)} for {len(self.ledger.output)}. Read a tensor that "
                "starts with the examples, with wrt=."
            )
        scores, given = wide(self.scores).flatten(1), _given(self.ledger)
        places = list(self.ledger.positions.values())
        if self._has_choices():
            scores, given = self._by_choice(given)
            places = []
        allowed = self._open(scores)
        shares = _SHARES[bias](scores, allowed, given, places)
        return (scores + shares).reshape(self.scores.shape).to(self.scores)

    def _has_choices(self) -> bool:
        """Tell whether each example has several texts, ``[B, C, T]``."""
        several = self.attended is not None and self.attended.ndim == 3
        return several and self.attended.shape == self.scores.shape  # type: ignore[union-attr]

    def _by_choice(self, given: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores ``[B * C, T]``, and what the sources of each choice have.

        The ledger places sources by choice, so that none pays for another.
        """
        scores = wide(self.scores)  # type: ignore[arg-type]
        like = scores[..., 0]
        parts = self.ledger.positions.values()
        placed = summed((part for part in parts if part.shape == like.shape), like)
        left = (given - placed.sum(1)) / like.shape[1]
        return scores.flatten(0, 1), (placed + left[:, None]).flatten()

    def _open(self, scores: Tensor) -> Tensor:
        """Return which positions may get a share, in the shape of ``scores``."""
        if self.attended is None or self.attended.numel() != scores.numel():
            return torch.ones_like(scores, dtype=torch.bool)
        return self.attended.cpu().reshape(scores.shape)

    def _merged(self, grouping: Grouping) -> dict[str, Any]:
        """Return also values and positions by word, so that ``complete`` works."""
        shape = grouping.columns.shape
        positions = {
            name: grouping.fold(part) if part.shape == shape else part
            for name, part in self.ledger.positions.items()
        }
        merged = super()._merged(grouping)
        merged["ledger"] = replace(self.ledger, positions=positions)
        if isinstance(self.values, Tensor) and self.values.shape[:2] == shape:
            merged["values"] = grouping.fold(self.values)
        return merged


def _share_none(
    scores: Tensor, allowed: Tensor, given: Tensor, places: Sequence[Tensor]
) -> Tensor:
    return torch.zeros_like(scores)


def _share_equal(
    scores: Tensor, allowed: Tensor, given: Tensor, places: Sequence[Tensor]
) -> Tensor:
    return _spread(given, allowed.double())


def _share_first(
    scores: Tensor, allowed: Tensor, given: Tensor, places: Sequence[Tensor]
) -> Tensor:
    first = allowed & (allowed.cumsum(1) == 1)
    return _spread(given, first.double())


def _share_abs(
    scores: Tensor, allowed: Tensor, given: Tensor, places: Sequence[Tensor]
) -> Tensor:
    weights = scores.abs() * allowed
    nothing = weights.sum(1, keepdim=True) == 0
    return _spread(given, torch.where(nothing, allowed.double(), weights))


def _share_site(
    scores: Tensor, allowed: Tensor, given: Tensor, places: Sequence[Tensor]
) -> Tensor:
    parts = [part for part in places if part.shape == scores.shape]
    placed = summed(parts, scores) * allowed
    return placed + _spread(given - placed.sum(1), allowed.double())


Share = Callable[[Tensor, Tensor, Tensor, Sequence[Tensor]], Tensor]
_SHARES: dict[str, Share] = {
    "site": _share_site,
    "equal": _share_equal,
    "first": _share_first,
    "abs": _share_abs,
    "none": _share_none,
}


def _spread(amount: Tensor, weights: Tensor) -> Tensor:
    """Return ``amount [B]`` shared in proportion to ``weights [B, T]``."""
    weight = weights.sum(1, keepdim=True)
    return amount[:, None] * weights / torch.where(weight == 0, 1.0, weight)


def _given(ledger: Ledger) -> Tensor:
    """Return what all sources have together, ``[B]`` in float64."""
    return summed(ledger.sources.values(), wide(ledger.output))
