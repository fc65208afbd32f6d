"""Multiple choice: one of several texts, by its number or its name."""

from __future__ import annotations

from typing import Any

from ..attribution.readout import Contrast
from ..errors import TargetError
from ..support.suggest import whatever_case
from .asked import Asked, Posed
from .kinds import Task

__all__ = ["choice_names", "chosen"]


def choice_names(count: int) -> list[str]:
    """Name the choices of an example.

    Args:
        count: How many there are.

    Returns:
        A name for each.
    """
    return [f"choice {number}" for number in range(count)]


def chosen(asked: Asked) -> Posed:
    """Pose a question about one of several texts.

    Args:
        asked: The question; its target is a number, a name such as ``"choice 1"``, one
            for each example, a contrast of two, or None for the model's own choice.

    Returns:
        The question about the logit of a number.
    """
    assert asked.ids is not None
    names = choice_names(asked.ids.shape[1])
    return asked.posed(_numbered(asked.target, names), Task.CHOICE)


def _numbered(target: Any, names: list[str]) -> Any:
    """Return a target with numbers in place of names.

    Raises:
        TargetError: If there is no choice of a name.
    """
    if isinstance(target, Contrast):
        return Contrast(_numbered(target.a, names), _numbered(target.b, names))
    if isinstance(target, list | tuple):
        return [_numbered(each, names) for each in target]
    if not isinstance(target, str):
        return target
    name = whatever_case(target, names)
    if name is None:
        raise TargetError(
            f"target={target!r} is none of the choices, which are "
            f"{', '.join(map(repr, names))}; pass one of them, or its number."
        )
    return names.index(name)
