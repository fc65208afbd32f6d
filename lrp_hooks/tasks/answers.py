"""Question answering: the span of the context that answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..attribution.spots import Spot, Spots
from ..errors import TargetError
from ..texts.spans import pieces_of_each, vocabulary_mark
from .asked import Asked, Posed
from .kinds import Task
from .places import place_of

__all__ = ["answered"]

_ENDS = {"start": ("start_logits",), "end": ("end_logits",)}
_BOTH = ("start_logits", "end_logits")


def answered(asked: Asked) -> Posed:
    """Pose a question about the span of an answer.

    Args:
        asked: The question; its target is ``"start"``, ``"end"``, the first and last
            position of a span (or its word), one for each example, or None for both
            ends of the best span.

    Returns:
        The question about the sum of the logits of a span's ends.
    """
    start, end = asked.field("start_logits"), asked.field("end_logits")
    assert start is not None and end is not None
    spots, names = [], []
    for row, target in enumerate(asked.each(asked.target)):
        fields = _fields(target)
        span = (
            _given(asked, target, row, start.shape[1])
            if isinstance(target, tuple)
            else _best(start[row], end[row], _context(asked, row))
        )
        places = dict(zip(_BOTH, span, strict=True))
        spots.append(tuple(Spot(field, (places[field],)) for field in fields))
        names.append(_said(asked, row, span, target))
    return asked.posed(Spots(tuple(spots), tuple(names)), Task.ANSWER)


def _fields(target: Any) -> tuple[str, ...]:
    if target is None or (isinstance(target, tuple) and len(target) == 2):
        return _BOTH
    if isinstance(target, str) and target in _ENDS:
        return _ENDS[target]
    raise TargetError(
        f"target={target!r} is no part of an answer; it must be 'start' or 'end', the "
        "first and last position of a span, such as (7, 9), a function of the model's "
        "output, or None for the best span."
    )


def _given(
    asked: Asked, target: tuple[Any, ...], row: int, length: int
) -> tuple[int, int]:
    first, last = (place_of(asked, place, row, length) for place in target)
    if last < first:
        raise TargetError(
            f"target={target!r} is a span that ends, at {last}, before it starts, at "
            f"{first}."
        )
    return first, last


def _context(asked: Asked, row: int) -> list[int]:
    """List the positions of the second text; those of all text where there is one."""
    free = asked.free(row)
    segments = None if asked.encoded is None else asked.encoded.segments
    if segments is not None:
        return [place for place in free if segments[row][place] == 1] or free
    types = (
        asked.batch.get("token_type_ids") if isinstance(asked.batch, Mapping) else None
    )
    if isinstance(types, Tensor) and types.ndim == 2:
        return [place for place in free if int(types[row, place]) == 1] or free
    return free


def _best(start: Tensor, end: Tensor, places: list[int]) -> tuple[int, int]:
    """Return the best span: its logits sum to the most, and it ends after its start."""
    sums = start[places].double()[:, None] + end[places].double()[None]
    allowed = torch.ones_like(sums, dtype=torch.bool).triu()
    best = int(sums.masked_fill(~allowed, -torch.inf).argmax())
    return places[best // len(places)], places[best % len(places)]


def _said(asked: Asked, row: int, span: tuple[int, int], target: Any) -> str:
    first, last = span
    part = f"{target} of " if isinstance(target, str) else ""
    if asked.encoded is None:
        return f"{part}the answer at {first} to {last}"
    mark = vocabulary_mark(asked.tokenizer)
    own = slice(first, last + 1)
    answer = "".join(pieces_of_each(asked.encoded, mark)[row][own]).strip()
    return f"{part}the answer {answer!r}"
