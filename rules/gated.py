"""Functions that act on one argument by means of the others, which are their gate.

A sampling grid, an angle, a divisor that is rounded, the number of what is not zero
(p = 0) are gates: relevance goes to what they act on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..engine import (
    FunctionTable,
    carries,
    freeze,
    pass_through,
    spellings,
    split,
    table,
)

__all__ = ["GATED", "rounded"]


def _rest_frozen(func: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
    """Freeze every argument but the first one."""
    rest = [freeze(a) if carries(a) else a for a in args]
    named = {k: freeze(a) if carries(a) else a for k, a in kwargs.items()}
    return func(x, *rest, **named)


def _frozen(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return func(*(freeze(a) if carries(a) else a for a in args), **kwargs)


def _stepped(func: Callable[..., Any], x: Any, other: Any, **kwargs: Any) -> Any:
    """A function of x that is 0 at 0 and has a constant beside it."""
    other = freeze(other) if carries(other) else other
    with torch.no_grad():
        y = func(x, other, **kwargs)
    if not carries(x):
        return y
    return pass_through(lambda t: func(t, other, **kwargs), x.expand(y.shape), y)


def rounded(func: Callable[..., Any], x: Any, other: Any, **kwargs: Any) -> Any:
    """Divide and round: a step function of what is divided.

    Args:
        func: ``div`` with a rounding mode.
        x: The dividend.
        other: The divisor, frozen.
        **kwargs: Its keyword arguments.

    Returns:
        The quotient.
    """
    return _stepped(func, x, other, **kwargs)


def _norm(func: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """A length is homogeneous; the number of what is not zero (p = 0) is a gate."""
    order = args[0] if args else kwargs.get("ord", kwargs.get("p"))
    is_count = isinstance(order, int | float) and order == 0
    return func(freeze(x) if is_count else x, *args, **kwargs)


def _var_mean(func: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
    _, mean = func(x, *args, **kwargs)
    var, _ = func(split(x, 2), *args, **kwargs)
    return var, mean


GATED: FunctionTable = {
    **table(
        spellings("""
            grid_sampler grid_sampler_2d grid_sampler_3d cudnn_grid_sampler
            _grid_sampler_2d_cpu_fallback istft quantile nanquantile
        """),
        _rest_frozen,
    ),
    **table(spellings("angle atan2 arctan2 heaviside"), _frozen),
    **table(spellings("remainder fmod copysign floor_divide"), _stepped),
    **table(spellings("norm linalg_norm linalg_vector_norm vector_norm"), _norm),
    **table(spellings("var_mean"), _var_mean),
}
"""Replacements that freeze the gate; the plain gradient needs none of them."""
