"""Images of scores, alone or laid over the picture that they explain."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from ..errors import ArgumentError
from .colour import LIGHT, NEGATIVE, POSITIVE

__all__ = ["backgrounds", "boxed", "data_url", "pixels"]

DARKEST = 160  # of the grey that black becomes under the colours


def backgrounds(images: Any, count: int) -> list[Tensor]:
    """Make pictures of the tensors that a model was given.

    Args:
        images: ``[B, C, H, W]`` with one channel or three, or ``[B, H, W]``. Bytes stay
            as they are; other numbers are scaled from each image's least to its
            greatest.
        count: How many there must be.

    Returns:
        Bytes ``[H, W, 3]`` for each.

    Raises:
        ArgumentError: If they are no such tensor.
    """
    shape = list(images.shape) if isinstance(images, Tensor) else None
    if shape is not None and len(shape) == 3:
        shape.insert(1, 1)
    if shape is None or len(shape) != 4 or shape[1] not in {1, 3} or 0 in shape:
        came = f"shape {shape}" if shape else f"a {type(images).__name__}"
        raise ArgumentError(
            f"images has {came}; it must be a tensor [B, C, H, W] with C = 1 or 3, or "
            "[B, H, W]: what the model was given."
        )
    if shape[0] != count:
        raise ArgumentError(
            f"images holds {shape[0]} pictures for {count} examples; pass one for each."
        )
    return [_bytes(image) for image in images.detach().cpu().reshape(shape)]


def _bytes(image: Tensor) -> Tensor:
    """Return ``[C, H, W]`` as bytes ``[H, W, 3]``."""
    if image.dtype != torch.uint8:
        known = torch.nan_to_num(image.double(), 0.0, posinf=0.0, neginf=0.0)
        low, high = known.min(), known.max()
        span = (high - low) if high > low else torch.tensor(1.0)
        image = ((known - low) / span * 255).round().to(torch.uint8)
    return image.expand(3, *image.shape[1:]).permute(1, 2, 0)


def pixels(scores: Tensor, scale: float, image: Tensor | None = None) -> Tensor:
    """Colour an image of scores.

    Args:
        scores: ``[H, W]``.
        scale: The largest absolute score.
        image: The picture to lay them over, bytes ``[H', W', 3]``, shown in light grey;
            each score covers its share of it. Defaults to ``None``: zero is white.

    Returns:
        Bytes ``[H, W, 3]``, or ``[H', W', 3]`` over a picture.
    """
    share = torch.nan_to_num(scores.detach().cpu().double(), 0.0)
    share = (share / (scale or 1.0)).clamp(-1, 1)
    neutral = torch.tensor(LIGHT).double()
    if image is not None:
        share = _spread(share, image.shape[0], image.shape[1])
        neutral = _grey(image)
    share = share[..., None]
    hue = torch.where(share > 0, torch.tensor(POSITIVE), torch.tensor(NEGATIVE))
    return (neutral + (hue - neutral) * share.abs()).round().to(torch.uint8)


def boxed(image: Tensor, box: Sequence[float]) -> Tensor:
    """Draw a box on a picture, dark with a light edge.

    Args:
        image: Bytes ``[H, W, 3]``.
        box: Left, top, right and bottom as shares of the picture.

    Returns:
        Another picture.
    """
    height, width = image.shape[:2]
    left, right = (min(int(x * width), width - 1) for x in (box[0], box[2]))
    top, bottom = (min(int(y * height), height - 1) for y in (box[1], box[3]))
    made = image.clone()
    line = max(1, min(height, width) // 100)
    for inset, grey in ((line, 255), (0, 0)):
        a, b, c, d = left + inset, right - inset, top + inset, bottom - inset
        for rows in (slice(c, c + line), slice(max(d + 1 - line, 0), d + 1)):
            made[rows, a : b + 1] = grey
        for columns in (slice(a, a + line), slice(max(b + 1 - line, 0), b + 1)):
            made[c : d + 1, columns] = grey
    return made


def _spread(share: Tensor, height: int, width: int) -> Tensor:
    """Repeat each entry over its part of a larger image; average in a smaller one."""
    rows, columns = share.shape
    if height < rows or width < columns:
        smaller = (min(height, rows), min(width, columns))
        share = adaptive_avg_pool2d(share[None, None], smaller)[0, 0]
        rows, columns = smaller
    down = torch.arange(height) * rows // height
    across = torch.arange(width) * columns // width
    return share[down][:, across]


def _grey(image: Tensor) -> Tensor:
    """Return a picture in grey, light enough for colours to tell on it."""
    weights = torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.float64)
    grey = (image.double() * weights).sum(-1, keepdim=True)
    return DARKEST + grey * (255 - DARKEST) / 255


def data_url(image: Tensor) -> str:
    """Write an image so that it can stand in a page.

    Args:
        image: Bytes ``[H, W, 3]``.

    Returns:
        A ``data:`` URL of a PNG file.
    """
    return f"data:image/png;base64,{base64.b64encode(_png(image)).decode()}"


def _png(image: Tensor) -> bytes:
    """Return a PNG file."""
    height, width, _ = image.shape
    rows = b"".join(b"\0" + bytes(row.flatten().tolist()) for row in image)
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
