"""Object detection: the class of a box."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..attribution.classes import class_of
from ..attribution.spots import field_of
from ..attribution.usual import DETECTED, chances, spots_of_boxes
from ..errors import TargetError
from ..support.numbers import is_whole
from .asked import Asked, Posed
from .kinds import Task

__all__ = ["detected"]


def detected(asked: Asked) -> Posed:
    """Pose a question about the class of a box.

    Args:
        asked: The question; its target is ``(query, class or label)``, a label for its
            most confident box, one for each example, or None for the most confident
            box of all.

    Returns:
        The question about one logit of each example.
    """
    field = _field(asked)
    sure = chances(asked.output, field, asked.model)
    chosen = [
        _chosen(asked, target, sure[row])
        for row, target in enumerate(asked.each(asked.target))
    ]
    spots = spots_of_boxes(asked.output, field, asked.model, chosen)
    return asked.posed(spots, Task.DETECTION)


def _field(asked: Asked) -> str:
    """Tell which output of a detector has the classes of its boxes, or masks."""
    pairs = DETECTED.items()
    both = (n for n, m in pairs if None not in {asked.field(n), asked.field(m)})
    field = next(both, None)
    if field is None:
        raise TargetError(
            f"{type(asked.model).__name__} returns no classes with boxes or masks; "
            "pass target=a function of its output."
        )
    assert field_of(asked.output, field) is not None
    return field


def _chosen(asked: Asked, target: Any, sure: Tensor) -> tuple[int, int]:
    """Return the query and the class that are explained, of chances [Q, C]."""
    queries, classes = sure.shape
    if target is None:
        best = int(sure.argmax())
        return best // classes, best % classes
    if isinstance(target, str):
        label = class_of(target, asked.model, classes)
        return int(sure[:, label].argmax()), label
    if not isinstance(target, tuple) or len(target) != 2 or not is_whole(target[0]):
        raise TargetError(
            f"target={target!r} leaves open which box is meant: this model has "
            f"{queries} of them. Pass (query, class or label), a label for its most "
            "confident box, or nothing for the most confident box of all."
        )
    query = int(target[0])
    if not 0 <= query < queries:
        raise TargetError(
            f"target={target!r} names query {query}; they are 0 to {queries - 1}."
        )
    return query, class_of(target[1], asked.model, classes)
