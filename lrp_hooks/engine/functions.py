"""The spellings of a torch function: ``torch.add``, ``Tensor.add``, ``Tensor.add_``."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch.nn import functional as F

__all__ = [
    "FUSED",
    "HOMES",
    "MOVES",
    "PRODUCTS",
    "SOFTMAX",
    "in_place",
    "spellings",
    "table",
]

HOMES: tuple[Any, ...] = (
    torch,
    torch.Tensor,
    torch._C.TensorBase,
    torch._C._nn,
    torch._C._VariableFunctions,
    torch.special,
    torch.linalg,
    torch.fft,
)


def spellings(names: str, *more: Callable[..., Any]) -> list[Callable[..., Any]]:
    """Find every function of the given names that a scope can see.

    Functions written in Python in terms of others are left out, since a scope opens
    them and sees what they call.

    Args:
        names: Names of functions, separated by blanks; for each one its in-place form
            (``add_``) counts too.
        *more: Further functions.

    Returns:
        The functions of ``torch``, ``torch.Tensor``, ``torch.special`` and so on.
    """
    found = [
        getattr(home, spelling)
        for name in names.split()
        for spelling in (name, f"{name}_")
        for home in HOMES
        if hasattr(home, spelling)
    ]
    return [*(f for f in found if not isinstance(f, types.FunctionType)), *more]


SOFTMAX = frozenset(spellings("softmax _softmax safe_softmax _safe_softmax"))
FUSED = frozenset({F.scaled_dot_product_attention})
PRODUCTS = frozenset(
    spellings("matmul __matmul__ bmm", torch.functional.einsum, torch.einsum)
)
"""What mixes values by attention weights."""
MOVES = frozenset(
    spellings("""
        contiguous clone to type type_as float double half bfloat16 dropout view reshape
        flatten unsqueeze squeeze expand masked_fill nan_to_num narrow where __getitem__
    """)
)
"""What attention weights go through on their way to the values."""


def table(
    functions: Iterable[Callable[..., Any]], replacement: Callable[..., Any] | None
) -> dict[Callable[..., Any], Callable[..., Any] | None]:
    """Give several functions one replacement.

    Args:
        functions: Torch functions.
        replacement: See `Rule.functions`.

    Returns:
        The function table.
    """
    return dict.fromkeys(functions, replacement)


@cache
def in_place(func: Callable[..., Any]) -> bool:
    """Tell whether a torch function overwrites its first argument.

    Args:
        func: A function as a replacement is given it.

    Returns:
        True for ``add_`` and the like.
    """
    name = getattr(func, "__name__", "")
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
