"""What is explained, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

__all__ = ["ids_in", "target_text"]


def target_text(target: Any, b: int, labels: Mapping[int, str]) -> str:
    """Name what is explained of an example.

    Args:
        target: See `Explanation`.
        b: The example.
        labels: Names of classes or tokens.

    Returns:
        Its label where that is known, else its number or name.
    """
    if isinstance(target, Tensor):
        target = target.tolist()
    if type(target) in {list, tuple}:
        target = target[b]
    if (names := getattr(target, "names", None)) is not None:
        return str(names[b])  # a target that is another one in each example
    if is_dataclass(target):  # a contrast: one rather than another
        sides = (getattr(target, side.name) for side in fields(target))
        return " rather than ".join(target_text(side, b, labels) for side in sides)
    if isinstance(target, int):
        return str(labels.get(target, target))
    if callable(target):
        return str(getattr(target, "__name__", type(target).__name__))
    return "" if target is None else str(target)


def ids_in(target: Any) -> list[int]:
    """List the classes or tokens in a target.

    Args:
        target: See `Explanation`.

    Returns:
        Their numbers, those of both sides of a contrast; none of a function.
    """
    if hasattr(target, "names"):  # a place, say, which has names of its own
        return []
    if is_dataclass(target):
        sides = (getattr(target, side.name) for side in fields(target))
        return [i for side in sides for i in ids_in(side)]
    if isinstance(target, Tensor):
        target = target.flatten().tolist()
    several = target if isinstance(target, list | tuple) else [target]
    return [i for i in several if isinstance(i, int)]
