"""The columns of the tables: each has items to choose on, and others to judge on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from . import decoders, encoders, pictures
from .scoring import Item, Places

__all__ = ["KINDS", "Column", "load"]


class Column(NamedTuple):
    """Items of one kind.

    Attributes:
        count: How many there are.
        item: Makes one by its number, which stands for the same one each time.
    """

    count: int
    item: Callable[[int], Item]


KINDS: dict[str, Callable[[dict[str, Any], str, Places], tuple[int, Any]]] = {
    "text": encoders.texts,
    "pairs": encoders.pairs,
    "people": encoders.people,
    "reactions": encoders.reactions,
    "molecules": pictures.molecules,
    "pictures": pictures.digits,
    "next token": decoders.stories,
    "left out": decoders.left_out,
    "answers": decoders.answers,
}
"""Kinds of columns: ``(settings, stage, places)`` to a number of items and a maker."""


def load(settings: dict[str, Any], stage: str, places: Places) -> Column:
    """Load a column's model and data.

    Args:
        settings: Its part of the configuration.
        stage: ``"search"`` or ``"told"``: whose items.
        places: Where models and data are.

    Returns:
        The column.
    """
    return Column(*KINDS[settings["kind"]](settings, stage, places))
