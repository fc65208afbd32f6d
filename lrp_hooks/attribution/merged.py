"""Rows of all examples in one tensor: to which example each of them belongs.

Some processors put the patches, or the images, of all examples one behind the other.
Each of them bears on the output of its own example alone, so that one backward pass an
example tells whose it is, and no tokenizer has to be known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .settings import setting

__all__ = ["Grid", "by_owner", "given_back", "grid_of", "placed"]


@dataclass(frozen=True)
class Grid:
    """The images that rows are patches of.

    Attributes:
        sizes: Frames, height and width of each image, in patches.
        merge: How many patches a side follow each other, since they become one token.
        patch: The side of a patch in pixels.
    """

    sizes: Sequence[Sequence[int]]
    merge: int
    patch: int

    def image(self, number: int, rows: Tensor) -> Tensor:
        """Put the pixels of an image to their places.

        Args:
            number: Which image.
            rows: The relevance of its patches, [F * H * W, channels * pixels].

        Returns:
            [F, H, W] in pixels, or in patches where rows have no pixels.
        """
        frames, height, width = self.sizes[number]
        side = self.patch if rows.shape[1] % self.patch**2 == 0 else 1
        blocks = (frames, height // self.merge, width // self.merge)
        found = rows.reshape(*blocks, self.merge, self.merge, -1, side, side).sum(5)
        turned = found.permute(0, 1, 3, 5, 2, 4, 6)
        return turned.reshape(frames, height * side, width * side)


def grid_of(
    name: str, given: Mapping[str, Tensor], model: nn.Module, rows: Tensor
) -> Grid | None:
    """Find the images that the rows of an input are patches of.

    Args:
        name: The input.
        given: All inputs by name.
        model: The model, whose configuration tells what a patch is.
        rows: The input, [R, ...].

    Returns:
        The images; None where nothing tells them.
    """
    found = given.get("video_grid_thw" if "video" in name else "image_grid_thw")
    if found is None or rows.ndim != 2 or int(found.prod(1).sum()) != len(rows):
        return None
    merge = setting(model, "spatial_merge_size") or 1
    patch = setting(model, "patch_size") or 1
    return Grid(found.tolist(), merge, patch if isinstance(patch, int) else 1)


def given_back(parts: Tensor, grid: Grid | None, merged: bool) -> Tensor:
    """Give rows back to their examples, and those of patches to their places.

    Args:
        parts: The relevance of all rows for each example, [B, R, ...].
        grid: The images that they are patches of; None where they are whole images, or
            something else.
        merged: Whether a row may be one example's alone.

    Returns:
        [B, n, ...] with the n rows of each example; of patches [B, n, F, H, W]. Axes
        of one entry are left out, and what is shorter ends in zeros. Rows that bear on
        several examples stay, [B, R, ...].
    """
    sizes = [1] * parts.shape[1]
    if grid is not None:
        sizes = [frames * height * width for frames, height, width in grid.sizes]
    owner = _owners(parts, sizes) if merged else None
    if owner is None:
        return parts
    units = torch.split(
        parts.sum(0), sizes
    )  # of each row all but one example have nothing
    if grid is None:
        found = _padded([unit[0] for unit in units], owner, len(parts))
        return found.squeeze(1)
    images = [grid.image(number, unit) for number, unit in enumerate(units)]
    return _padded(images, owner, len(parts)).squeeze(2).squeeze(1)


def by_owner(rows: Tensor, owner: Sequence[int], batch: int) -> Tensor:
    """Give rows back to the examples that they are known to belong to.

    Args:
        rows: [R, ...].
        owner: The example of each row.
        batch: B.

    Returns:
        [B, n, ...]; what is shorter ends in zeros.
    """
    return _padded(list(rows), owner, batch)


def placed(values: Tensor, shapes: Tensor, patch: int) -> Tensor:
    """Put the patches of images of any aspect ratio to their places.

    Args:
        values: The relevance of patches, row by row, [B, P, D].
        shapes: Height and width of each image in patches, [B, 2].
        patch: The side of a patch in pixels.

    Returns:
        [B, H, W] in pixels, or in patches where these have no pixels.
    """
    side = patch if values.shape[2] % patch**2 == 0 else 1
    images = []
    for rows, (height, width) in zip(values, shapes.tolist(), strict=True):
        own = rows[: height * width].reshape(height, width, side, side, -1).sum(4)
        turned = own.transpose(1, 2).reshape(height * side, width * side)
        images.append(turned)
    return _padded(images, range(len(images)), len(images)).squeeze(1)


def _owners(parts: Tensor, sizes: Sequence[int]) -> list[int] | None:
    """Tell whose each run of rows is; None where some are of several examples."""
    runs = torch.repeat_interleave(torch.tensor(sizes)).to(parts.device)
    amounts = parts.abs().flatten(2).sum(2) if parts.ndim > 2 else parts.abs()
    reached = amounts.new_zeros(len(parts), len(sizes)).index_add(1, runs, amounts) > 0
    if bool((reached.sum(0) > 1).any()):
        return None
    # What has no relevance at all stands behind what it belongs to.
    numbers = torch.arange(len(sizes), device=parts.device)
    last = torch.where(reached.any(0), numbers, 0).cummax(0).values
    owner: list[int] = reached.byte().argmax(0)[last].tolist()
    return owner


def _padded(units: Sequence[Tensor], owner: Sequence[int], batch: int) -> Tensor:
    """Stack the units of each example, [B, n, ...]."""
    most = max(owner.count(row) for row in range(batch))
    ends = [max(unit.shape[axis] for unit in units) for axis in range(units[0].ndim)]
    found = units[0].new_zeros(batch, most, *ends)
    count = [0] * batch
    for unit, row in zip(units, owner, strict=True):
        place: tuple[int | slice, ...] = (row, count[row], *map(slice, unit.shape))
        found[place] = unit
        count[row] += 1
    return found
