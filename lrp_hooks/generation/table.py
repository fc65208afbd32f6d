"""The rows of a matrix that fills up: one for each generated token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..results.ledger import Ledger
from ..results.prefixes import Prefixes

__all__ = ["GenerationRow", "Rows", "Table", "known_rows"]


@dataclass(frozen=True, eq=False)
class GenerationRow:
    """What one generated token drew on.

    Attributes:
        scores: ``[N]``: of all tokens of the text; its own and later ones have 0.
        output: Its raw logit, or the difference to its contrast's.
        sources: ``{name: relevance}`` of the constants: with the scores they sum to the
            output.
    """

    scores: Tensor
    output: float
    sources: dict[str, float]


@dataclass(frozen=True, eq=False)
class Rows:
    """The relevance of G generated tokens over the N tokens before the last one.

    Attributes:
        scores: [G, N].
        ledger: Its sources are [G], its positions those before each token.
        meta: How it was done.
    """

    scores: Tensor
    ledger: Ledger
    meta: dict[str, Any]


class Table:
    """The rows that are done, in their order.

    Attributes:
        count: G, how many there will be.
        first: How many columns stand before what is generated.
        width: N, how many stand before the last token.
        done: How many rows are there.
        meta: How they were made.
    """

    def __init__(self, count: int, first: int) -> None:
        """Start with no row.

        Args:
            count: G.
            first: See `Table`.
        """
        self.count, self.first, self.width = count, first, first + count - 1
        self.done = 0
        self.meta: dict[str, Any] = {}
        self._scores: list[Tensor] = []
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._sources: dict[str, Tensor] = {}
        self._positions: dict[str, list[Tensor | None]] = {}

    def enter(self, rows: Rows) -> None:
        """Add the rows that come next.

        Args:
            rows: So many of them, over the columns that stand before the last of them.
        """
        start, stop = self.done, self.done + len(rows.scores)
        for name, values in rows.ledger.sources.items():
            zeros = torch.zeros(self.count, dtype=torch.float64, device=values.device)
            self._sources.setdefault(name, zeros)[start:stop] = values
        positions = rows.ledger.positions
        for name in self._positions.keys() | positions.keys():
            kept = self._positions.setdefault(name, [None] * start)
            matrix = positions.get(name)
            for t in range(start, stop):
                row = None if matrix is None else matrix[t - start, : self.first + t]
                kept.append(None if row is None else row.to(rows.ledger.inputs.dtype))
        self._scores += [
            row[: self.first + t] for t, row in enumerate(rows.scores, start)
        ]
        self._inputs.append(rows.ledger.inputs)
        self._outputs.append(rows.ledger.output)
        self.done = stop

    def row(self, number: int) -> GenerationRow:
        """Return a row that is done.

        Args:
            number: Which one.

        Returns:
            Its numbers.
        """
        scores = self._scores[number]
        padding = (0, self.width + 1 - len(scores))
        sources = {name: float(v[number]) for name, v in self._sources.items()}
        output = float(torch.cat(self._outputs)[number])
        return GenerationRow(torch.nn.functional.pad(scores, padding), output, sources)

    def rows(self) -> Rows:
        """Return what is done, over the columns before the last token of it.

        Returns:
            At least one row.
        """
        width = self.first + self.done - 1
        scores = self._scores[0].new_zeros(self.done, width)
        # An interrupt may have come while rows were added, which do not count then.
        for t, row in enumerate(self._scores[: self.done]):
            scores[t, : len(row)] = row
        positions = {
            name: torch.cat(list(map(self._placed, range(self.done), kept)))
            for name, kept in self._positions.items()
            if len(kept) >= self.done
        }
        ledger = Ledger(
            torch.cat(self._inputs)[: self.done],
            {name: values[: self.done] for name, values in self._sources.items()},
            Prefixes(positions, self.first, self.done, width),
            torch.cat(self._outputs)[: self.done],
        )
        return Rows(scores, ledger, self.meta)

    def _placed(self, number: int, row: Tensor | None) -> Tensor:
        zeros = self._inputs[0].new_zeros
        return zeros(self.first + number) if row is None else row


def known_rows(scores: Tensor, ledger: Ledger, width: int) -> Rows:
    """Take rows out of an explanation, to go on behind them.

    Args:
        scores: [n, at least width].
        ledger: Its ledger.
        width: How many columns stand before the last explained token.

    Returns:
        The rows.
    """
    positions: Mapping[str, Tensor] = ledger.positions
    cut = {name: values[:, :width] for name, values in positions.items()}
    kept = Ledger(ledger.inputs, ledger.sources, cut, ledger.output)
    return Rows(scores[:, :width], kept, {})
