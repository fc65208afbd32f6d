"""Images with texts: a picture's pixel values, and a text beside each."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TextError
from .encoding import Encoded, encode

__all__ = ["Illustrated", "as_illustrated", "encode_illustrated"]

Illustrated = tuple[Tensor, list[str]]
"""Pixel values ``[B, C, H, W]``, and a text for each image."""


def as_illustrated(inputs: object) -> Illustrated | None:
    """Tell images with texts from other inputs.

    Args:
        inputs: What a caller wants explained: ``(pixel values, text)``, an image or
            several with as many texts; or a list of such, of one image each.

    Returns:
        The images and the texts, or None if the inputs are none.

    Raises:
        TextError: If the images are no tensors or come second, or there are more or
            fewer texts.
    """
    if isinstance(inputs, list) and inputs and all(map(_is_pair, inputs)):
        parts = [_read(image, text) for image, text in inputs]
        shapes = {tuple(pixels.shape[1:]) for pixels, _ in parts}
        if len(shapes) > 1:
            raise TextError(
                f"the images have the shapes {sorted(shapes)}; a batch has images of "
                "one shape. Resize them, or explain them one by one."
            )
        texts = [text for _, own in parts for text in own]
        return torch.cat([pixels for pixels, _ in parts]), texts
    if isinstance(inputs, tuple) and _is_pair(inputs[::-1]):
        raise TextError(
            "the inputs are a text and an image; the image comes first: (pixel values, "
            "text)."
        )
    if not _is_pair(inputs):
        return None
    return _read(*inputs)  # type: ignore[misc]


def encode_illustrated(
    model: nn.Module, tokenizer: Any, inputs: Illustrated
) -> Encoded:
    """Tokenise the texts, and put the images beside them.

    Args:
        model: The model that is to take them.
        tokenizer: A Hugging Face tokenizer.
        inputs: The images and the texts.

    Returns:
        The batch, with ``"pixel_values"``.

    Raises:
        TextError: If the model takes no images.
    """
    pixels, texts = inputs
    takes = inspect.signature(model.forward).parameters
    if "input_ids" in takes and "pixel_values" not in takes:
        raise TextError(
            f"the inputs are an image and a text, and a {type(model).__name__} takes "
            "no pixel_values. Leave the image out."
        )
    found = encode(model, tokenizer, texts)
    example = next(model.parameters(), torch.zeros(()))
    return replace(found, batch={"pixel_values": pixels.to(example), **found.batch})


def _is_pair(value: object) -> bool:
    """Tell an image, or what may be meant for one, beside a text or texts."""
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    image, text = value
    return _is_image(image) and _is_text(text)


def _is_image(value: object) -> bool:
    """Tell what may be meant for an image: a tensor, an array, a PIL image."""
    return any(hasattr(value, name) for name in ("__array__", "__array_interface__"))


def _is_text(value: object) -> bool:
    listed = isinstance(value, list) and bool(value)
    return isinstance(value, str) or (
        listed and all(isinstance(each, str) for each in value)  # type: ignore[attr-defined]
    )


def _read(image: Any, text: str | Sequence[str]) -> Illustrated:
    if not isinstance(image, Tensor) or image.ndim not in {3, 4}:
        came = (
            f"a tensor of shape {tuple(image.shape)}"
            if isinstance(image, Tensor)
            else f"a {type(image).__name__}"
        )
        raise TextError(
            f"the image beside the text is {came}; it must be pixel values, "
            "[C, H, W] or [B, C, H, W]: processor(images=image, "
            'return_tensors="pt")["pixel_values"].'
        )
    pixels = image if image.ndim == 4 else image[None]
    texts = [text] if isinstance(text, str) else list(text)
    if len(pixels) != len(texts):
        raise TextError(
            f"the inputs are {len(pixels)} images and {len(texts)} texts; each image "
            "is explained with its own text, so pass as many of one as of the other."
        )
    return pixels, texts
