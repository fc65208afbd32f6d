"""What stands beside a text as columns: patches of a picture, stretches of a sound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.merged import Grid, grid_of
from ..attribution.places import seen_axes
from ..attribution.settings import setting

__all__ = ["Clock", "Folding", "folding"]

STRETCH = 320
"""Samples of a waveform that are one column, where the model says no number."""


@dataclass(frozen=True)
class Clock:
    """How long what a model hears is.

    Attributes:
        frame: Seconds of a frame of features; None where nothing says it.
        sample: Seconds of a sample.
    """

    frame: float | None = None
    sample: float | None = None

    @classmethod
    def of(cls, processor: Any) -> Clock:
        """Read a processor's feature extractor.

        Args:
            processor: A processor, its feature extractor, or a tokenizer, which says
                nothing.

        Returns:
            What it says.
        """
        audio = getattr(processor, "feature_extractor", processor)
        hop, rate = (getattr(audio, n, None) for n in ("hop_length", "sampling_rate"))
        return cls(hop / rate if hop and rate else None, 1 / rate if rate else None)


@dataclass(frozen=True)
class Folding:
    """How the relevance of an input becomes a row of columns.

    Attributes:
        names: What the P columns are called.
        axes: Along which axes of the input people look.
        block: How many entries along each of these are one column.
        grid: The images that rows are patches of, where they are.
        shape: Rows and columns of the picture in patches; None of sounds.
        heard: Whether columns are moments of a sound.
    """

    names: tuple[str, ...]
    axes: tuple[int, ...] = ()
    block: tuple[int, ...] = ()
    grid: Grid | None = None
    shape: tuple[int, ...] | None = None
    heard: bool = False

    def place(self, first: int) -> dict[str, list[int]]:
        """Say where a picture or a sound stands.

        Args:
            first: Its first column.

        Returns:
            What belongs to the meta of a `GenerationExplanation`.
        """
        if self.shape is not None:
            return {"picture": [first, *self.shape]}
        return {"sound": [first, len(self.names)]} if self.heard else {}

    def __call__(self, relevance: Tensor) -> Tensor:
        """Sum the relevance of each column.

        Args:
            relevance: [C, ...] in the shape of the input.

        Returns:
            [C, P].
        """
        if self.grid is not None:
            return torch.stack([self._patches(row) for row in relevance])
        left = [a for a in range(relevance.ndim) if a not in self.axes]
        seen = relevance.sum(left) if left else relevance
        for axis, size in enumerate(self.block, 1):
            missing = -seen.shape[axis] % size
            if missing:
                shape = [*seen.shape]
                shape[axis] = missing
                seen = torch.cat([seen, seen.new_zeros(shape)], axis)
            shape = [*seen.shape]
            shape[axis : axis + 1] = [shape[axis] // size, size]
            seen = seen.reshape(shape).sum(axis + 1)
        return seen.flatten(1)

    def _patches(self, rows: Tensor) -> Tensor:
        """Sum the pixels of the patches that are one token, image by image."""
        assert self.grid is not None
        merge, sizes = self.grid.merge, [prod(size) for size in self.grid.sizes]
        return torch.cat([
            own.reshape(-1, merge * merge * own.shape[1]).sum(1)
            for own in torch.split(rows, sizes)
        ])


def folding(
    name: str,
    value: Tensor,
    model: nn.Module,
    given: Mapping[str, Tensor],
    clock: Clock,
) -> Folding:
    """Choose the columns of a float input of one example.

    Args:
        name: The input.
        value: Its value.
        model: The model.
        given: All inputs by name.
        clock: How long a frame and a sample are.

    Returns:
        The columns: patches of the model's own size, frames, or stretches of samples.
    """
    grid = grid_of(name, given, model, value)
    if grid is not None:
        return _merged(grid)
    axes = seen_axes(name, value.shape, model)
    sizes = [value.shape[axis] for axis in axes[1:]]
    if len(sizes) == 1:
        return _times(name, axes, value, model, clock)
    size = setting(model, "patch_size") or 1
    sides = [size, size] if isinstance(size, int) else list(size)[-2:]
    block = (*[1] * (len(sizes) - 2), *sides)
    counts = tuple(-(-n // b) for n, b in zip(sizes, block, strict=True))
    if len(value.shape) > 4:  # several images, or frames
        counts = (prod(counts[:-2]), *counts[-2:])
    return Folding(_patch_names(counts), axes, block, shape=counts[-2:])


def _merged(grid: Grid) -> Folding:
    shapes = [(f, h // grid.merge, w // grid.merge) for f, h, w in grid.sizes]
    counts = [(number, *shape) for number, shape in enumerate(shapes)]
    several = len(shapes) > 1 or shapes[0][0] > 1
    names = tuple(
        f"{f'image {n * f + frame} ' if several else ''}patch {row},{column}"
        for n, f, h, w in counts
        for frame in range(f)
        for row in range(h)
        for column in range(w)
    )
    return Folding(names, grid=grid, shape=None if several else shapes[0][1:])


def _patch_names(counts: tuple[int, ...]) -> tuple[str, ...]:
    images, rows, columns = (1, *counts)[-3:]
    return tuple(
        f"{f'image {image} ' if images > 1 else ''}patch {row},{column}"
        for image in range(images)
        for row in range(rows)
        for column in range(columns)
    )


def _times(
    name: str, axes: tuple[int, ...], value: Tensor, model: nn.Module, clock: Clock
) -> Folding:
    """Name frames of features by their time, and stretches of a waveform."""
    wave = value.ndim == 2 or name == "input_values" and axes[1] == 2
    size = STRETCH if wave else 1
    if wave and (strides := setting(model, "conv_stride")):
        size = prod(strides)
    count = -(-value.shape[axes[1]] // size)
    each = clock.sample and clock.sample * size if wave else clock.frame
    seen = name.startswith("pixel") or name in {"visual_feats", "flattened_patches"}
    if seen:
        names = tuple(f"patch {place}" for place in range(count))
    elif each is None:
        names = tuple(f"frame {place}" for place in range(count))
    else:
        names = tuple(f"{place * each:.2f} s" for place in range(count))
    return Folding(names, axes, (size,), heard=not seen)
