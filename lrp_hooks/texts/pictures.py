"""Pictures in files: what a model's image processor makes of them."""

from __future__ import annotations

from typing import IO, Any

from torch import Tensor

from ..errors import ArgumentError
from ..support.extras import require

__all__ = ["pixels_of", "read_picture"]

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
MOST_PIXELS = 50_000_000
"""A file of few bytes may hold pixels that no memory holds."""


def read_picture(source: str | IO[bytes], named: str) -> Any:
    """Open a picture.

    Args:
        source: A file's path, or the file.
        named: What it is called in messages.

    Returns:
        A Pillow image in red, green and blue, or in shades of grey.

    Raises:
        ArgumentError: If it is no picture.
    """
    image = require("PIL.Image", "images", "reading pictures")
    try:
        with image.open(source, formats=FORMATS) as opened:
            width, height = opened.size
            if width * height <= MOST_PIXELS:
                return opened.convert("L" if opened.mode in {"1", "L"} else "RGB")
    except OSError as error:
        reason = error.strerror or "it is no picture of a known format"
        raise ArgumentError(
            f"{named} cannot be read: {reason}. Name a .png or .jpg file."
        ) from error
    except image.DecompressionBombError:
        pass
    raise ArgumentError(
        f"{named} has more than {MOST_PIXELS:,} pixels. Make it smaller: models read "
        "some hundreds a side."
    )


def pixels_of(processor: Any, picture: Any, named: str) -> Tensor:
    """Make of a picture what a model reads.

    Args:
        processor: The model's image processor.
        picture: A Pillow image.
        named: What it is called in messages.

    Returns:
        Pixel values ``[1, C, H, W]``; those of a grey picture are equal.

    Raises:
        ArgumentError: If the processor refuses the picture.
    """
    shades = len(getattr(processor, "image_mean", None) or [0]) == 1
    read = picture if shades else picture.convert("RGB")
    try:
        found = processor(images=read, return_tensors="pt")["pixel_values"]
    except (ValueError, TypeError) as error:
        raise ArgumentError(
            f"{named} is not what the model's image processor takes: {error}"
        ) from error
    pixels: Tensor = found
    return pixels
