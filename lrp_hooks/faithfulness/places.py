"""Where an input can be taken apart: its places, padding and special tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.inputs import Call
from ..errors import ArgumentError, TextError
from ..explainers.calls import attended
from ..support.numbers import is_whole

__all__ = ["Grid", "check_free", "check_grid", "find_padding", "find_special"]

Grid = tuple[int, ...]
"""The shape of the places of an example: T for texts, H x W for images."""


def check_grid(call: Call, grid: Grid) -> None:
    """Refuse scores that belong to another input.

    Args:
        call: How the model is called.
        grid: The shape of the places, without the batch.

    Raises:
        ArgumentError: If the main input has no such places.
    """
    shape = tuple(call.main.shape)
    if call.main.ndim == 4:
        fits = len(grid) == 2 and all(
            cells and not size % cells
            for size, cells in zip(shape[2:], grid, strict=True)
        )
        wanted = "[B, H, W], or one for each cell of a coarser grid"
    else:
        fits, wanted = grid == shape[1:2], "one for each of its positions"
    if not fits:
        raise ArgumentError(
            f"scores has the places {grid} an example, but the input has "
            f"shape {shape}; scores must be {wanted}."
        )


def find_padding(model: nn.Module, call: Call, grid: Grid) -> Tensor:
    """Find the places that hold padding.

    Args:
        model: The model.
        call: How it is called.
        grid: The shape of the places, without the batch.

    Returns:
        Boolean ``[B, P]``.
    """
    mask = attended(model, call)
    cells = torch.Size(grid).numel()
    if mask is None or mask.shape[1:] != grid:
        return torch.zeros(call.batch, cells, dtype=torch.bool)
    return ~mask.cpu()


def find_special(call: Call, grid: Grid, marked: Any, ids: Iterable[int]) -> Tensor:
    """Find the places that hold special tokens.

    Args:
        call: How the model is called.
        grid: The shape of the places, without the batch.
        marked: A ``special_tokens_mask``, or None.
        ids: The ids of special tokens, beside those that are marked.

    Returns:
        Boolean ``[B, P]``.

    Raises:
        ArgumentError: If ids or the mask are not those of this input.
    """
    ids, wanted = list(ids), (call.batch, *grid)
    special = torch.zeros(call.batch, torch.Size(grid).numel(), dtype=torch.bool)
    if ids and (call.main.is_floating_point() or not all(map(is_whole, ids))):
        raise ArgumentError(
            f"special_ids={ids!r} must be ids of tokens, for inputs that are ids; "
            "mark places of others by a special_tokens_mask in the batch."
        )
    if ids:
        special |= torch.isin(call.main.cpu(), torch.tensor(ids))
    if marked is not None:
        mask = torch.as_tensor(marked).cpu()
        if mask.shape != wanted:
            raise ArgumentError(
                f"special_tokens_mask has shape {tuple(mask.shape)}; it must have "
                f"that of the scores, {wanted}."
            )
        special |= mask.reshape(special.shape) != 0
    return special


def check_free(free: Tensor) -> None:
    """Refuse examples of which nothing can be taken away.

    Args:
        free: The places that may be taken away, boolean ``[B, P]``.

    Raises:
        TextError: If an example has none.
    """
    for row, some in enumerate(free.any(1).tolist()):
        if not some:
            raise TextError(
                f"example {row} has nothing to take away: each of its places is "
                "padding or special. Leave it out, or pass "
                "special_tokens='perturb'."
            )
