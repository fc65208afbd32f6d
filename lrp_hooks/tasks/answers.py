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

__all__ = ["answered", "best_span", "fields_of", "span_given", "spots_of"]

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
    start, _ = _logits(asked)
    found = []
    for row, target in enumerate(asked.each(asked.target)):
        fields_of(target)
        if isinstance(target, tuple):
            span = span_given(asked, target, row, start.shape[1])
        else:
            span = best_span(asked, row)[1]
        found.append(spots_of(asked, row, span, target))
    spots, names = zip(*found, strict=True)
    return asked.posed(Spots(spots, names), Task.ANSWER)


def spots_of(
    asked: Asked, row: int, span: tuple[int, int], target: Any
) -> tuple[tuple[Spot, ...], str]:
    """Return the logits of a span, and what they mean.

    Args:
        asked: The question.
        row: The example.
        span: Its first and last position.
        target: Which of the span's ends is asked for, see `answered`.

    Returns:
        An entry of the output for each end, and a name for all.
    """
    places = dict(zip(_BOTH, span, strict=True))
    spots = tuple(Spot(field, (places[field],)) for field in fields_of(target))
    return spots, _said(asked, row, span, target)


def best_span(asked: Asked, row: int) -> tuple[float, tuple[int, int]]:
    """Find the best span: its logits sum to the most, and it ends after its start.

    Args:
        asked: The question.
        row: The example.

    Returns:
        The sum, and the first and last position.
    """
    start, end = _logits(asked)
    places = _context(asked, row)
    sums = start[row, places].double()[:, None] + end[row, places].double()[None]
    allowed = torch.ones_like(sums, dtype=torch.bool).triu()
    sums = sums.masked_fill(~allowed, -torch.inf)
    best = int(sums.argmax())
    span = places[best // len(places)], places[best % len(places)]
    return float(sums.max()), span


def _logits(asked: Asked) -> tuple[Tensor, Tensor]:
    start, end = asked.field("start_logits"), asked.field("end_logits")
    assert start is not None and end is not None
    return start, end


def fields_of(target: Any) -> tuple[str, ...]:
    """Tell which outputs of the model a target is about.

    Args:
        target: See `answered`.

    Returns:
        Their names.

    Raises:
        TargetError: If it is no part of an answer.
    """
    if target is None or (isinstance(target, tuple) and len(target) == 2):
        return _BOTH
    if isinstance(target, str) and target in _ENDS:
        return _ENDS[target]
    raise TargetError(
        f"target={target!r} is no part of an answer; it must be 'start' or 'end', the "
        "first and last position of a span, such as (7, 9), a function of the model's "
        "output, or None for the best span."
    )


def span_given(
    asked: Asked, target: tuple[Any, ...], row: int, length: int
) -> tuple[int, int]:
    """Read a span that a caller chose.

    Args:
        asked: The question.
        target: The first and last position, or their words.
        row: The example.
        length: How many positions there are.

    Returns:
        The positions.

    Raises:
        TargetError: If there are no such positions, or the last precedes the first.
    """
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
    named = isinstance(asked.batch, Mapping)
    types = asked.batch.get("token_type_ids") if named else None
    if segments is not None:
        second = [place for place in free if segments[row][place] == 1]
    elif isinstance(types, Tensor) and types.ndim == 2 and bool((types == 1).any()):
        second = [place for place in free if int(types[row, place]) == 1]
    else:  # special tokens stand between the texts
        gaps = [place for place in range(free[0], free[-1]) if place not in free]
        second = [place for place in free if gaps and place > gaps[0]]
    return second or free


def _said(asked: Asked, row: int, span: tuple[int, int], target: Any) -> str:
    first, last = span
    part = f"{target} of " if isinstance(target, str) else ""
    if asked.encoded is None:
        return f"{part}the answer at {first} to {last}"
    mark = vocabulary_mark(asked.tokenizer)
    own = slice(first, last + 1)
    answer = "".join(pieces_of_each(asked.encoded, mark)[row][own]).strip()
    return f"{part}the answer {answer!r}"
