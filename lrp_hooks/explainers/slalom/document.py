"""A text as positions: which of them may be left out, and what stands there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby

import torch
from torch import Tensor

__all__ = ["Positions", "Text"]

Positions = tuple[int, ...]


@dataclass(frozen=True)
class Text:
    """One document, or several that share a vocabulary.

    Args:
        ids: The token id of each position.
        special: Whether a position holds a special token.
        documents: The positions of each document.
    """

    ids: list[int]
    special: list[bool]
    documents: list[list[int]]

    @cached_property
    def first_place(self) -> dict[int, int]:
        """The first position of each ordinary token id, by ascending id."""
        places: dict[int, int] = {}
        for p in self._positions(special=False):
            places.setdefault(self.ids[p], p)
        return dict(sorted(places.items()))

    @cached_property
    def vocabulary(self) -> list[int]:
        """The distinct ids of ordinary tokens, ascending: ``D`` of them."""
        return list(self.first_place)

    @cached_property
    def special_ids(self) -> list[int]:
        """The distinct ids of special tokens, ascending."""
        return sorted({self.ids[p] for p in self._positions(special=True)})

    def _positions(self, special: bool) -> list[int]:
        return [p for d in self.documents for p in d if self.special[p] == special]

    def ordinary(self, document: Sequence[int]) -> list[int]:
        """Return the positions of a document that may be left out."""
        return [p for p in document if not self.special[p]]

    def wrap(self, types: Sequence[int]) -> Positions:
        """Put tokens where the first document's ordinary tokens stand.

        Of a pair of texts, each token stays on its side of the separator.

        Args:
            types: Indices into ``vocabulary``.

        Returns:
            The sequence, with that document's special tokens around them.
        """
        special = self.special.__getitem__
        runs = [list(run) for _, run in groupby(self.documents[0], key=special)]
        first = next(i for i, run in enumerate(runs) if not special(run[0]))
        home = {p: i for i, run in enumerate(runs) for p in run}
        placed = [run if special(run[0]) else [] for run in runs]
        for p in (self.first_place[self.vocabulary[t]] for t in types):
            placed[home.get(p, first)].append(p)
        return tuple(chain.from_iterable(placed))

    def counts(self, sequences: Sequence[Positions]) -> Tensor:
        """Count token types.

        Args:
            sequences: ``M`` tuples of positions.

        Returns:
            ``[M, D + 1]`` in float64; the last column counts special tokens.
        """
        index = {i: j for j, i in enumerate(self.vocabulary)}
        width = len(index)
        column = {
            p: width if self.special[p] else index[self.ids[p]]
            for document in self.documents
            for p in document
        }
        counts = torch.zeros(len(sequences), width + 1, dtype=torch.float64)
        rows = [row for row, seq in enumerate(sequences) for _ in seq]
        columns = [column[p] for seq in sequences for p in seq]
        ones = torch.ones(len(rows), dtype=torch.float64)
        return counts.index_put_(
            (torch.tensor(rows), torch.tensor(columns)), ones, accumulate=True
        )
