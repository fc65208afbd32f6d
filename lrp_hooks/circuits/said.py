"""What a circuit explains, in words."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..attribution.readout import Contrast
from ..texts.target_names import target_names

__all__ = ["said"]


def said(model: nn.Module, tokenizer: Any, target: Any) -> str:
    """Name what was explained of an example.

    Args:
        model: The model.
        tokenizer: Its tokenizer, or None.
        target: Classes or tokens, a `Contrast` of such, or a function.

    Returns:
        Labels or tokens where they are known, else their numbers.
    """
    if isinstance(target, Contrast):
        sides = (said(model, tokenizer, side) for side in (target.a, target.b))
        return " rather than ".join(sides)
    if (names := getattr(target, "names", None)) is not None:
        return ", ".join(map(str, names))  # a place in a text, say
    if callable(target):
        return str(getattr(target, "__name__", type(target).__name__))
    target = target.tolist() if hasattr(target, "tolist") else target
    ids = target if isinstance(target, list | tuple) else [target]
    known = target_names(model, tokenizer, [i for i in ids if isinstance(i, int)])
    return ", ".join(str(known.get(i, i)) for i in ids)
