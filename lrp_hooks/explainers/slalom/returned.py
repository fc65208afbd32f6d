"""What a function that stands for a model returned, as numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...errors import ArgumentError

__all__ = ["numbers"]


def numbers(name: str, given: Any, wanted: str) -> Tensor:
    """Read what a function returned.

    Args:
        name: The function.
        given: A tensor, an array or lists.
        wanted: What it must return, in a sentence.

    Returns:
        The same in float64, on the CPU.

    Raises:
        ArgumentError: If it is no array of numbers.
    """
    try:
        return torch.as_tensor(given).detach().cpu().double()
    except (OverflowError, TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"{name} returned a {type(given).__name__}, which is no array of numbers "
            f"({error}). {wanted}"
        ) from error
