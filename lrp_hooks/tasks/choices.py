"""Multiple choice: one of several texts, by its number or its name."""

from __future__ import annotations

from ..errors import TargetError
from ..support.suggest import whatever_case
from .asked import Asked, Posed, by_name
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
        The question about the logit of a number; a name of no choice is refused.
    """
    assert asked.ids is not None
    names = choice_names(asked.ids.shape[1])

    def number(name: str) -> int:
        found = whatever_case(name, names)
        if found is None:
            raise TargetError(
                f"target={name!r} is none of the choices, which are "
                f"{', '.join(map(repr, names))}; pass one of them, or its number."
            )
        return names.index(found)

    return asked.posed(by_name(asked.target, number), Task.CHOICE)
