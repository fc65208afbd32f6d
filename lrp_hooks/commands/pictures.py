"""``--image``: a picture as what a model reads, with a text or without."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from typing import Any, TextIO

from torch import Tensor, nn

from ..errors import ArgumentError
from ..support.extras import require
from ..texts.illustrated import encode_illustrated
from ..texts.loading import load_model, load_processor, load_tokenizer
from ..texts.prediction import run
from .waiting import waiting

__all__ = ["Pictured", "check_picture", "pictured"]


@dataclass(frozen=True)
class Pictured:
    """A picture, and the model that is to read it.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer; None where there is no text.
        inputs: What `explain` takes.
        batch: What the model takes.
    """

    model: nn.Module
    tokenizer: Any
    inputs: Tensor | tuple[Tensor, str]
    batch: dict[str, Any]


def check_picture(arguments: Namespace) -> None:
    """Refuse what does not go with a picture, before any work.

    Args:
        arguments: What the command line says.

    Raises:
        ArgumentError: If there is no model, or something that goes with texts alone.
    """
    if arguments.model is None:
        raise ArgumentError(
            "--image needs a model that reads pictures, and the embedded one reads "
            "texts. Pass --model DIR."
        )
    if arguments.text == "-":
        raise ArgumentError("--image goes with one text or none. Pass TEXT itself.")
    for name in ("text_pair", "stride"):
        if getattr(arguments, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise ArgumentError(f"{option} goes with texts alone. Leave it out.")


def pictured(arguments: Namespace, stderr: TextIO) -> Pictured:
    """Load a model, and make of a picture what it reads.

    Args:
        arguments: What the command line says.
        stderr: Where to say that loading takes a while.

    Returns:
        Both.
    """
    picture = _read(arguments.image)
    folder, text = arguments.model, arguments.text
    with waiting(stderr, "loading the model"):
        processor = load_processor(folder)
        tokenizer = None if text is None else load_tokenizer(folder)
        model = load_model(folder)
    pixels = _pixels(processor, picture, arguments.image)
    if text is None:
        found = Pictured(model, None, pixels, {"pixel_values": pixels})
    else:
        encoded = encode_illustrated(model, tokenizer, (pixels, [text]))
        batch = dict(encoded.batch)
        found = Pictured(model, tokenizer, (pixels, text), batch)
    run(model, found.batch)
    return found


def _read(path: str) -> Any:
    """Open a picture.

    Returns:
        It, in red, green and blue, or in shades of grey.

    Raises:
        ArgumentError: If it is none.
    """
    image = require("PIL.Image", "images", "--image")
    try:
        with image.open(path) as opened:
            return opened.convert("L" if opened.mode in {"1", "L"} else "RGB")
    except OSError as error:
        reason = error.strerror or "it is no picture of a known format"
        raise ArgumentError(
            f"--image {path!r} cannot be read: {reason}. Name a .png or .jpg file."
        ) from error


def _pixels(processor: Any, picture: Any, path: str) -> Tensor:
    """Make of a picture what the model reads.

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
            f"--image {path!r} is not what the model's image processor takes: {error}"
        ) from error
    pixels: Tensor = found
    return pixels
