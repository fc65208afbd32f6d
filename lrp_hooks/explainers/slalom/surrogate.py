"""The surrogate: each token has a value and an importance, whatever its place."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Self

import torch
from torch import Tensor

from ...errors import ArgumentError
from ...results import storage

__all__ = ["Stored", "Surrogate", "predict", "shares", "tally"]


def shares(counts: Tensor, importances: Tensor) -> Tensor:
    """Return the weight of each token type: the softmax of all copies' importances.

    Args:
        counts: How often each type occurs in each sequence, ``[M, D]``.
        importances: ``[D]``.

    Returns:
        ``n_j exp(s_j) / sum_k n_k exp(s_k)``, ``[M, D]``.
    """
    weights = counts * (importances - importances.max()).exp()
    return weights / weights.sum(1, keepdim=True)


def predict(counts: Tensor, values: Tensor, importances: Tensor) -> Tensor:
    """Return the log-odds of bags of tokens, ``[M]``; see ``shares``."""
    return shares(counts, importances) @ values


def tally(known: Tensor, ids: Tensor, like: Tensor) -> Tensor:
    """Count the known tokens of sequences.

    Args:
        known: Token ids, ascending, ``[D]``.
        ids: ``[N, L]``.
        like: Has the dtype of the result.

    Returns:
        ``[N, D]``.

    Raises:
        ArgumentError: If ``ids`` have another shape.
    """
    if not isinstance(ids, Tensor) or ids.dim() != 2 or ids.is_floating_point():
        came = tuple(ids.shape) if isinstance(ids, Tensor) else type(ids).__name__
        raise ArgumentError(
            f"ids must be whole numbers of the shape [N, L], got {came}. Write "
            "ids[None] for a single sequence."
        )
    ids = ids.to(known).contiguous()
    places = torch.searchsorted(known, ids).clamp(max=len(known) - 1)
    counts = like.new_zeros(len(ids), len(known))
    return counts.scatter_add_(1, places, (known[places] == ids).to(like))


class Stored:
    """A surrogate that goes into a file, and comes out as the class that it was."""

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything into one ``.safetensors`` file.

        Args:
            path: The file to write; an older file is replaced once this one is whole.
        """
        storage.save(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read what ``save`` wrote.

        Args:
            path: The file to read.

        Returns:
            The surrogate. A file that holds something else is refused.
        """
        return storage.load_as(path, cls, base=Stored)


@dataclass(frozen=True, eq=False)
class Surrogate(Stored):
    """F(t) = sum_i softmax(s)_i v_i over the tokens of a sequence.

    ``N`` sequences, ``L`` tokens, ``D`` token types. A sequence of one token alone has
    that token's value as its log-odds; a token of larger importance outweighs others.
    Importances are identified up to one constant, which cancels.

    Leemann et al. 2025, https://arxiv.org/abs/2405.13536.

    Args:
        ids: The token ids it knows, ``[D]``, ascending.
        values: ``v``, ``[D]``.
        importances: ``s``, ``[D]``.

    Raises:
        ArgumentError: If the three do not belong together.
    """

    ids: Tensor
    values: Tensor
    importances: Tensor

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together.

        Raises:
            ArgumentError: If shapes differ or ids are not ascending.
        """
        shapes = [list(t.shape) for t in (self.ids, self.values, self.importances)]
        if self.ids.dim() != 1 or shapes != shapes[:1] * 3:
            raise ArgumentError(
                "ids, values and importances must have one shape [D], got "
                f"{', '.join(map(str, shapes))}. Give each id one value and one "
                "importance."
            )
        if bool((self.ids.diff() <= 0).any()):
            raise ArgumentError(
                f"ids must ascend, got {self.ids.tolist()}. Sort them, and their "
                "values and importances along with them."
            )

    def __call__(self, ids: Tensor) -> Tensor:
        """Predict the log-odds of sequences.

        Args:
            ids: ``[N, L]``. Ids that are not known, padding for one, weigh nothing.

        Returns:
            ``[N]``.
        """
        return predict(self.counts(ids), self.values, self.importances)

    def counts(self, ids: Tensor) -> Tensor:
        """Count the known tokens of sequences.

        Args:
            ids: ``[N, L]``.

        Returns:
            ``[N, D]``, in the dtype of the values.

        Raises:
            ArgumentError: If ``ids`` have another shape, or a sequence has no token
                that is known.
        """
        counts = tally(self.ids, ids, self.values)
        empty = counts.sum(1) == 0
        if bool(empty.any()):
            row = int(empty.int().argmax())
            raise ArgumentError(
                f"ids[{row}] has no token that the surrogate knows: "
                f"{ids[row].tolist()[:20]}. It knows the tokens that it was fitted on."
            )
        return counts

    def removal(self, ids: Tensor) -> Tensor:
        """Predict what leaving out one copy of each token would take away.

        Args:
            ids: One sequence, ``[L]``.

        Returns:
            ``F(t) - F(t without i) = a_i (v_i - F) / (1 - a_i)``, ``[L]``, with ``a_i``
            the weight of that single copy; 0 where nothing would be left, and for ids
            that are not known.
        """
        counts = self.counts(ids[None])
        output = predict(counts, self.values, self.importances)
        share = shares(counts, self.importances)[0] / counts[0].clamp(min=1)
        rest = torch.where(counts[0] == counts.sum(), counts[0] - 1, 1 - share)
        effect = share * (self.values - output) / rest.clamp(min=1e-300)
        return self.look_up(ids, torch.where(rest > 0, effect, 0.0), 0.0)

    def look_up(self, ids: Tensor, column: Tensor, missing: float) -> Tensor:
        """Spread numbers of types over the positions of a sequence.

        Args:
            ids: One sequence, ``[L]``.
            column: A number for each type, ``[D]``.
            missing: The number of ids that are not known.

        Returns:
            ``[L]``.
        """
        ids = ids.to(self.ids).contiguous()
        places = torch.searchsorted(self.ids, ids).clamp(max=len(self.ids) - 1)
        return torch.where(self.ids[places] == ids, column[places], missing)
