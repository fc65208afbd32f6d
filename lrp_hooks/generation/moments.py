"""A sound's columns, summed to as many moments as there is room to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Moments"]

MOST = 300
"""Moments of a sound."""
SILENT = 0.01
"""Moments with less than this part of the strongest one's relevance are silent."""
PAUSE = 10
"""So many silent ones are shown as one."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Which columns of a matrix are shown as one.

    Attributes:
        index: The number of the shown column of each, ``[N]``.
        first: The sound's first.
        count: How many shown ones are the sound's.
        size: How many columns are a moment.
    """

    index: Tensor
    first: int
    count: int
    size: int

    @classmethod
    def of(cls, scores: Tensor, first: int, count: int) -> Moments:
        """Sum neighbouring columns, and those of long pauses in which nothing counts.

        Args:
            scores: ``[G, N]``.
            first: The sound's first column.
            count: How many are the sound's.

        Returns:
            Moments of one length, and one for each pause.
        """
        size = -(-count // MOST)
        own = torch.arange(count) // size
        sums = scores.new_zeros(len(scores), int(own[-1]) + 1)
        sums.index_add_(1, own, scores[:, first : first + count])
        own = _without_pauses(sums)[own]
        shown = int(own[-1]) + 1
        after = torch.arange(scores.shape[1] - first - count) + first + shown
        index = torch.cat([torch.arange(first), own + first, after])
        return cls(index, first, shown, size)

    @property
    def starts(self) -> list[int]:
        """The first column of each that is shown."""
        change = self.index.diff(prepend=self.index.new_tensor([-1]))
        found: list[int] = change.nonzero()[:, 0].tolist()
        return found

    def names(self, columns: Sequence[str]) -> list[str]:
        """Name what is shown.

        Args:
            columns: The name of each column, ``N``.

        Returns:
            Names, of a pause those of both its ends.
        """
        starts = self.starts
        sound = slice(self.first, self.first + self.count)
        lengths = self.index.bincount()[sound].tolist()
        found = [columns[c] for c in starts]
        for place, length in enumerate(lengths, self.first):
            if length > self.size:
                found[place] += f" to {columns[starts[place] + length - 1]}"
        return found

    def sum(self, scores: Tensor) -> Tensor:
        """Sum the columns that are shown as one.

        Args:
            scores: ``[G, N]``.

        Returns:
            ``[G, M]``.
        """
        sums = scores.new_zeros(len(scores), int(self.index[-1]) + 1)
        return sums.index_add(1, self.index, scores)


def _without_pauses(sums: Tensor) -> Tensor:
    """Number moments so that all of a pause have one number.

    Args:
        sums: ``[G, M]``.

    Returns:
        ``[M]``, ascending.
    """
    strength = sums.abs().amax(0)
    loud = SILENT * strength.max()
    runs, lengths = torch.unique_consecutive(strength <= loud, return_counts=True)
    new, start = [], 0
    for is_silent, length in zip(runs.tolist(), lengths.tolist(), strict=True):
        whole = sums[:, start : start + length].sum(1).abs().max()
        pause = is_silent and length >= PAUSE and bool(whole <= PAUSE * loud)
        new += [True, *[not pause] * (length - 1)]
        start += length
    return torch.tensor(new).cumsum(0) - 1
