"""The texts in a batch: what is a token, what is special, what is padding."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...attribution.inputs import Call, bind
from ...engine.subject import Subject
from ...errors import ArgumentError, TextError
from ...texts.encoding import added_ids
from ..calls import check_one_text
from .document import Text

__all__ = ["Batch", "read_batch"]


@dataclass(frozen=True)
class Batch:
    """A batch of texts.

    Args:
        inputs: As they came.
        call: How the model takes them.
        texts: One for each example.
        attended: Boolean ``[B, T]``, or ``None`` where there is no padding.
        dtype: Of the results: that of the model, but at least float32.
    """

    inputs: Any
    call: Call
    texts: list[Text]
    attended: Tensor | None
    dtype: torch.dtype


def read_batch(model: nn.Module, tokenizer: Any, inputs: Any) -> Batch:
    """Find the texts in a batch.

    Args:
        model: The model that takes it.
        tokenizer: Tells special tokens and padding, or ``None``.
        inputs: A tensor, a tuple of tensors or a mapping of keyword arguments.

    Returns:
        The texts, and how to show parts of them to the model.

    Raises:
        ArgumentError: If the inputs are no token ids ``[B, T]``, or masked in more
            ways than by padding.
        TextError: If an example has no ordinary token.
    """
    check_one_text(model, inputs, "SLALOM")
    call = bind(Subject(model), inputs)
    ids = call.main
    if ids.is_floating_point() or ids.dim() != 2:
        raise ArgumentError(
            f"inputs is {ids.dtype} of the shape {tuple(ids.shape)}; SLALOM leaves "
            "tokens out and needs token ids, whole numbers of the shape [B, T]."
        )
    call = replace(call, mask=_mask(model, call))
    kept = _kept(call, tokenizer)
    special = added_ids(tokenizer)
    texts = []
    for b, row in enumerate(ids.tolist()):
        flags = [i in special for i in row]
        places = kept[b].nonzero()[:, 0].tolist()
        if all(flags[p] for p in places):
            raise TextError(
                f"example {b} has no ordinary token among {[row[p] for p in places]}: "
                "there is nothing to leave out. Pass a text of at least one word."
            )
        texts.append(Text(row, flags, [places]))
    padded = call.mask is not None or not bool(kept.all())
    found = next((p.dtype for p in model.parameters()), torch.float32)
    dtype = torch.promote_types(found, torch.float32)
    if not dtype.is_floating_point:
        dtype = torch.float32
    return Batch(inputs, call, texts, kept if padded else None, dtype)


def _mask(model: nn.Module, call: Call) -> Tensor | None:
    """Return the attention mask ``[B, T]``, named or positional.

    Raises:
        ArgumentError: If it has another shape.
    """
    names = list(inspect.signature(model.forward).parameters)
    named = {**dict(zip(names, call.args, strict=False)), **call.kwargs}
    mask = named.get("attention_mask")
    if not isinstance(mask, Tensor):
        return None
    if mask.shape != call.main.shape:
        raise ArgumentError(
            f"attention_mask has the shape {tuple(mask.shape)}; it must be that of the "
            f"token ids, {tuple(call.main.shape)}."
        )
    return mask


def _kept(call: Call, tokenizer: Any) -> Tensor:
    """Return which positions hold no padding, boolean ``[B, T]``."""
    if call.mask is not None:
        return call.mask.ne(0)
    padding = getattr(tokenizer, "pad_token_id", None)
    others = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
    if padding is None or padding in {getattr(tokenizer, n, None) for n in others}:
        return torch.ones_like(call.main, dtype=torch.bool)
    # Padding stands at either end; inside a text its id is a token like others.
    real = call.main != padding
    from_left, from_right = real.cumsum(1), real.flip(1).cumsum(1).flip(1)
    kept: Tensor = (from_left > 0) & (from_right > 0)
    return kept
