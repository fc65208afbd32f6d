"""Torch functions that are written in Python, opened up for a scope."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

__all__ = ["is_composite", "opened"]

_CHECKS = (
    "has_torch_function",
    "has_torch_function_unary",
    "has_torch_function_variadic",
)
_copies: dict[Callable[..., Any], Callable[..., Any]] = {}


def is_composite(func: Callable[..., Any]) -> bool:
    """Tell whether a function is written in Python, in terms of other functions."""
    names = getattr(func, "__globals__", {})
    return isinstance(func, types.FunctionType) and any(c in names for c in _CHECKS)


def opened(func: Any) -> Callable[..., Any]:
    """Copy a Python function of torch so that the scope sees the functions it calls."""
    # Such a function offers itself to the scope first and would do so for ever; in the
    # copy that check answers no. The function itself is left as it is.
    if func not in _copies:
        names = {**func.__globals__, **dict.fromkeys(_CHECKS, _no)}
        copy = types.FunctionType(
            func.__code__, names, func.__name__, func.__defaults__, func.__closure__
        )
        copy.__kwdefaults__ = func.__kwdefaults__
        _copies[func] = copy
    return _copies[func]


def _no(*_: object) -> bool:
    return False
