"""A convolution of every channel by itself, as a sum of shifted products.

Torch has no batched form of a grouped convolution's derivatives and would call it for
every channel of every tangent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..engine.autograd import carries
from ..engine.functions import table
from ..engine.rule import FunctionTable
from ..engine.splicing import splice

__all__ = ["DEPTHWISE"]


def _convolve(func: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Keep the kernel's values, and join them to the sum."""
    given = dict(zip(_NAMES, args, strict=False)) | kwargs
    padding = given.get("padding", 0)
    padding = padding[0] if isinstance(padding, tuple | list) else padding
    weight = given["weight"]
    apart = given.get("groups", 1) == x.shape[-2] == len(weight) > 1
    plain = all(given.get(n, 1) in (1, (1,), [1]) for n in ("stride", "dilation"))
    if not (apart and plain and isinstance(padding, int) and carries(x)):
        return func(x, *args, **kwargs)
    with torch.no_grad():
        value = func(x, *args, **kwargs)
    wide = F.pad(x, (padding, padding))
    length, taps = value.shape[-1], weight.detach().unbind(-1)
    parts = [w * wide[..., k : k + length] for k, w in enumerate(taps)]
    return splice(value, torch.stack(parts).sum(0), lambda grad: grad)


_NAMES = ("weight", "bias", "stride", "padding", "dilation", "groups")


DEPTHWISE: FunctionTable = table([F.conv1d], _convolve)
"""Replacements for layers that are unrolled."""
