"""Rules that the search tries, and the library does not have."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lrp_hooks.rules import Normalization, Product
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_hooks.engine import (
    FunctionTable,
    carries,
    freeze,
    role,
    spellings,
    splice,
    split,
    watch_source,
)

__all__ = ["FrozenMean", "UnevenGate"]

LAYER = spellings("layer_norm", F.layer_norm)
MULTIPLY = spellings("mul multiply")


class FrozenMean(Normalization):
    """R(x_i) = x_i w_i / s: LayerNorm with mean and scale taken for constants.

    The mean is a source then, beside the bias.
    """

    def functions(self, module: nn.Module | None) -> FunctionTable:
        """Return the table of normalisers, LayerNorm among them with its mean frozen.

        Args:
            module: Unused.

        Returns:
            The function table.
        """
        return {
            **super().functions(module),
            **dict.fromkeys(LAYER, _frozen_layer_norm),
        }


def _frozen_layer_norm(
    func: Callable[..., Any],
    x: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *more: Any,
) -> Any:
    if not carries(x):
        return func(x, normalized_shape, weight, bias, eps, *more)
    with torch.no_grad():
        y, mean, scale = torch.native_layer_norm(x, normalized_shape, weight, bias, eps)
        gain = scale if weight is None else scale * weight
        constant = -mean * gain if bias is None else bias - mean * gain
    y = splice(y, x, lambda grad, gain: grad * gain, gain)
    watch_source(y, constant, "layer_norm.bias")
    return y


class UnevenGate(Product):
    """R(activated) = a R(product), R(other) = (1 - a) R(product) in a gated unit."""

    def __init__(self, activated: float) -> None:
        """Choose how relevance is shared.

        Args:
            activated: a, from 0 (CP-LRP) to 1.
        """
        super().__init__()
        self.activated = activated

    def functions(self, module: nn.Module | None) -> FunctionTable:
        """Return the table of products.

        Args:
            module: Unused.

        Returns:
            The function table.
        """
        known = super().functions(module)
        return {
            **known,
            **{f: partial(_unevenly, self.activated, known[f]) for f in MULTIPLY},
        }


def _unevenly(
    share: float, evenly: Any, func: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """Multiply what is activated and what is not; all else as it is done evenly."""
    notes = [role(value) for value in args]
    gated = len(args) == 2 and all(map(carries, args))
    if not gated or notes.count("activated") != 1 or "gate" in notes:
        return evenly(func, *args, **kwargs)
    parts = [share if note == "activated" else 1 - share for note in notes]
    return func(
        *(split(v, 1 / p) if p else freeze(v) for v, p in zip(args, parts, strict=True))
    )
