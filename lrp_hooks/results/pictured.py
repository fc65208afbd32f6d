"""Scores that are shown as pictures: of images, of videos frame by frame, of sounds."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from ..render.pictures import boxed
from ..render.sounds import sound_picture, ticks_of
from ..views.explanation import Picture
from .patches import by_patch

__all__ = ["montage", "picture_of", "sound_of"]

FRAMES = 8
"""Of a video, or images of an example, in a row."""
PIXELS = 32 * 32
"""Above so many a picture is shown patch by patch, where a model's own are known."""
MOMENTS = 320
"""Columns of a sound."""


class Pictured(Protocol):
    """What is shown of an explanation."""

    meta: dict[str, Any]


def picture_of(
    explanation: Pictured, name: str, scores: Tensor, b: int, image: Tensor | None
) -> Picture:
    """Show the scores of an image, or of frames beside each other.

    Args:
        explanation: What they are of.
        name: What was read, or ``""`` where that is one thing.
        scores: ``[B, H, W]`` or ``[B, F, H, W]``.
        b: The example.
        image: The picture that they explain, bytes.

    Returns:
        The picture, patch by patch where it is large and the model's own are known,
        with the box that what is explained has.
    """
    known = explanation.meta.get("patches", {})
    own = known.get(name) if name else next(iter(known.values()), None)
    if own is not None and scores.shape[-1] * scores.shape[-2] > PIXELS:
        folded = by_patch(scores, None, {"": own})
        assert isinstance(folded, Tensor)
        scores = folded
    boxes = explanation.meta.get("boxes")
    if boxes and image is not None and scores.dim() == 3:
        image = boxed(image, boxes[b])
    shown = scores[b] if scores.dim() == 3 else montage(scores[b])
    return Picture(name, shown, image)


def montage(frames: Tensor) -> Tensor:
    """Put frames beside each other, and under each other where there are many.

    Args:
        frames: ``[F, H, W]``, or pictures ``[F, H, W, 3]``.

    Returns:
        ``[rows * H, columns * W]``, or the same of pictures.
    """
    count, height, width = frames.shape[:3]
    columns = min(count, FRAMES)
    missing = -count % columns
    filler = frames.new_zeros(missing, *frames.shape[1:])
    if frames.dim() == 4:
        filler += 255
    every = torch.cat([frames, filler])
    rows = len(every) // columns
    whole = every.reshape(rows, columns, *every.shape[1:]).transpose(1, 2)
    return whole.reshape(rows * height, columns * width, *frames.shape[3:])


def sound_of(
    explanation: Pictured, name: str, scores: Tensor, sound: Tensor | None
) -> Picture | None:
    """Show the scores of a sound over time, above the sound.

    Args:
        explanation: What they are of.
        name: What was read, or ``""`` where that is one thing.
        scores: Those of one example, ``[T]``.
        sound: A waveform ``[T]``, or bands by time ``[F, T]``; None where it is lost.

    Returns:
        The picture, with a time axis; None where this is no sound.
    """
    known = explanation.meta.get("sounds", {})
    key = name or next(iter(known), "")
    if key not in known:
        return None
    seconds = explanation.meta.get("seconds", {}).get(key)
    size = max(1, -(-len(scores) // MOMENTS))
    missing = scores.new_zeros(-len(scores) % size)
    sums = torch.cat([scores, missing]).reshape(-1, size).sum(1)
    image = sound_picture(torch.zeros(2) if sound is None else sound)
    return Picture(name, sums[None], image, ticks_of(len(scores), seconds, known[key]))
