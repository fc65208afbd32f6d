"""``--image``: a picture as what a model reads, with a text or without."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from typing import Any, TextIO

from torch import Tensor, nn

from ..errors import ArgumentError
from ..texts.illustrated import encode_illustrated
from ..texts.loading import load_model, load_processor, load_tokenizer
from ..texts.pictures import pixels_of, read_picture
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
    named = f"--image {arguments.image!r}"
    picture = read_picture(arguments.image, named)
    folder, text = arguments.model, arguments.text
    with waiting(stderr, "loading the model"):
        processor = load_processor(folder)
        tokenizer = None if text is None else load_tokenizer(folder)
        model = load_model(folder)
    pixels = pixels_of(processor, picture, named)
    if text is None:
        found = Pictured(model, None, pixels, {"pixel_values": pixels})
    else:
        encoded = encode_illustrated(model, tokenizer, (pixels, [text]))
        batch = dict(encoded.batch)
        found = Pictured(model, tokenizer, (pixels, text), batch)
    run(model, found.batch)
    return found
