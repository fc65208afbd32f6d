"""Relevance with its ledger: every part of the output, and where it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError
from .explanation import Explanation
from .words import Grouping

__all__ = ["Ledger", "Relevance"]

GROUPS = ("inputs", "positions", "biases", "softmax", "other")
# The parts of a name that tell position, type and class-token embeddings.
_EMBEDDING_WORDS = ("embed", "position", "cls_token", "class_token", "wpe", "wte")


@dataclass(frozen=True, eq=False, repr=False)
class Ledger:
    """Where every bit of the output went; what is not attributed is error.

    There is no line for a remainder. ``positions[name].sum(1) == sources[name]`` for a
    source that was added at token positions.

    Args:
        inputs: The sum of scores of each example, ``[B]``.
        sources: Relevance of each constant, ``{qualified name: [B]}``: biases,
            buffers, position, type and class-token embeddings, and what a softmax
            absorbs.
        positions: ``{name: [B, T]}`` for the sources added at token positions.
        output: The explained scalar of each example, ``[B]``.
    """

    inputs: Tensor
    sources: dict[str, Tensor]
    positions: dict[str, Tensor]
    output: Tensor

    @property
    def total(self) -> Tensor:
        """Inputs and sources together, ``[B]``, summed in float64."""
        return self._terms().sum(0).to(self.output)

    @property
    def scale(self) -> Tensor:
        """``max(|output|, sum of |terms|)``, ``[B]`` in float64 on the CPU."""
        return torch.maximum(_wide(self.output).abs(), self._terms().abs().sum(0))

    @property
    def error(self) -> Tensor:
        """``|output - total| / scale``, ``[B]``; 0 for 0/0."""
        size = self.scale
        gap = (_wide(self.output) - self._terms().sum(0)).abs()
        return torch.where(size == 0, gap, gap / size).to(self.output)

    @property
    def groups(self) -> dict[str, Tensor]:
        """The terms by kind, ``{kind: [B]}``: a short form for display.

        The kinds are ``"inputs"``, ``"positions"`` (position, type and class-token
        embeddings), ``"biases"`` and, where there are any, ``"softmax"`` (what
        attention absorbs) and ``"other"``.
        """
        names: dict[str, list[str]] = {kind: [] for kind in GROUPS}
        for name in self.sources:
            names[_kind(name)].append(name)
        groups = {
            kind: _sum((self.sources[n] for n in members), self.output)
            for kind, members in names.items()
            if members or kind in {"positions", "biases"}
        }
        return {"inputs": self.inputs, **groups}

    def __repr__(self) -> str:
        """Return a table: one line for each kind of term, one column an example."""
        rows = {**self.groups, "total": self.total, "output": self.output}
        lines = [
            f"  {name:<9} "
            + " ".join(f"{v:>+12.5g}" for v in values.flatten().tolist())
            for name, values in rows.items()
        ]
        errors = " ".join(f"{v:>12.1e}" for v in self.error.flatten().tolist())
        heading = f"Ledger of {len(self.sources)} sources"
        return "\n".join([heading, *lines, f"  {'error':<9} {errors}"])

    def _terms(self) -> Tensor:
        """Return inputs and sources in float64, ``[1 + sources, B]``."""
        return torch.stack([_wide(self.inputs), *map(_wide, self.sources.values())])


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
                not at all. Only attended positions get a share. Defaults to
                ``"site"``.

        Returns:
            Scores in their own shape that sum to ``ledger.total`` (but for
            ``"none"``).

        Raises:
            ArgumentError: If ``bias`` is unknown or several tensors were read.
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
        scores = _wide(self.scores).flatten(1)
        given = _SHARES[bias](scores, self._open(scores), self.ledger)
        return (scores + given).reshape(self.scores.shape).to(self.scores)

    def _open(self, scores: Tensor) -> Tensor:
        """Return which positions may get a share, boolean ``[B, T]``."""
        if self.attended is None or self.attended.shape != scores.shape:
            return torch.ones_like(scores, dtype=torch.bool)
        return self.attended.cpu()

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


def _share_none(scores: Tensor, allowed: Tensor, ledger: Ledger) -> Tensor:
    return torch.zeros_like(scores)


def _share_equal(scores: Tensor, allowed: Tensor, ledger: Ledger) -> Tensor:
    return _spread(_given(ledger), allowed.double())


def _share_first(scores: Tensor, allowed: Tensor, ledger: Ledger) -> Tensor:
    first = allowed & (allowed.cumsum(1) == 1)
    return _spread(_given(ledger), first.double())


def _share_abs(scores: Tensor, allowed: Tensor, ledger: Ledger) -> Tensor:
    weights = scores.abs() * allowed
    nothing = weights.sum(1, keepdim=True) == 0
    return _spread(_given(ledger), torch.where(nothing, allowed.double(), weights))


def _share_site(scores: Tensor, allowed: Tensor, ledger: Ledger) -> Tensor:
    parts = [part for part in ledger.positions.values() if part.shape == scores.shape]
    placed = _sum(parts, scores) * allowed
    return placed + _spread(_given(ledger) - placed.sum(1), allowed.double())


Share = Callable[[Tensor, Tensor, Ledger], Tensor]
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
    return _sum(ledger.sources.values(), _wide(ledger.output))


def _sum(parts: Iterable[Tensor], like: Tensor) -> Tensor:
    """Return the sum of tensors, also of none, taken in float64, like ``like``."""
    total = torch.zeros(like.shape, dtype=torch.float64)
    for part in parts:
        total += _wide(part)
    return total.to(like)


def _wide(tensor: Tensor) -> Tensor:
    """Return a tensor in float64 on the CPU: not every device has float64."""
    return tensor.detach().to("cpu", torch.float64)


def _kind(name: str) -> str:
    """Return the group of a source, by the last part of its name that says it."""
    low = name.lower()
    leaf = low.rpartition(".")[2]
    if "softmax" in low:
        return "softmax"
    if "bias" in leaf or leaf == "beta":
        return "biases"
    if any(word in low for word in _EMBEDDING_WORDS):
        return "positions"
    return "other"
