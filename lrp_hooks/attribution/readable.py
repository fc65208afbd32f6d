"""Which tensors relevance can be read at, and what is said of all others."""

from __future__ import annotations

import torch
from torch import Tensor

from ..engine.nested import first_tensor
from ..engine.subject import Subject
from ..errors import ArgumentError, UnsupportedModelError

__all__ = ["advice", "check_loaded", "check_readable", "is_plain"]

_WHOLE = (torch.int64, torch.int32)


def is_plain(tensor: Tensor) -> bool:
    """Tell a dense float tensor, which relevance is read at, from all others."""
    return tensor.is_floating_point() and _other_kind(tensor) is None


def check_readable(main: Tensor) -> None:
    """Refuse an input that holds no numbers, or in a way that none are read in.

    Args:
        main: The model's main input.

    Raises:
        ArgumentError: If it is such a tensor.
    """
    kind = _other_kind(main)
    if kind is not None:
        raise ArgumentError(
            f"inputs is a {kind} tensor; pass a dense one on the model's device "
            "(.to_dense(), .dequantize(), .float(), or padded with a mask)."
        )


def check_loaded(output: object) -> None:
    """Refuse a model whose weights were not there when it ran.

    Where they are does not tell: they may be brought for each module's call.

    Args:
        output: What the model returned, or the exception that it raised.

    Raises:
        UnsupportedModelError: If it came of the meta device.
    """
    found = first_tensor(output)
    if isinstance(output, Exception):
        unloaded, cause = "meta" in str(output).split(), output
    else:
        unloaded, cause = found is not None and found.is_meta, None
    if unloaded:
        raise UnsupportedModelError(
            "a part of the model is on the meta device, which holds no numbers; load "
            "the model's weights first."
        ) from cause


def _other_kind(tensor: Tensor) -> str | None:
    """Say what a tensor is that is not dense; None for dense ones."""
    if tensor.is_nested:
        return "nested"
    if tensor.layout is not torch.strided:
        return str(tensor.layout).removeprefix("torch.")
    if tensor.is_quantized:
        return "quantised"
    if tensor.is_floating_point() and tensor.itemsize == 1:
        return str(tensor.dtype).removeprefix("torch.")
    return "meta" if tensor.is_meta else None


def advice(subject: Subject, main: Tensor) -> str:
    """Say what may be wrong with the type of the inputs; nothing where it fits.

    Args:
        subject: The model.
        main: Its main input.

    Returns:
        The end of a sentence, for when the model fails.
    """
    parameters = subject.model.parameters()
    weights = next((p.dtype for p in parameters if p.is_floating_point()), main.dtype)
    if main.is_floating_point() and main.dtype != weights:
        return f"inputs that are {main.dtype} where the model's weights are {weights}."
    if subject.embeddings and not main.is_floating_point():
        wanted = "token ids are torch.int64"
        return "" if main.dtype in _WHOLE else f"inputs of {main.dtype}; {wanted}."
    if not main.is_floating_point():
        return f"inputs of {main.dtype} to a model that looks up no ids; pass floats."
    return ""
