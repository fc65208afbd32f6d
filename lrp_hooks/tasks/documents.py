"""Texts in windows: which windows are explained, and which output of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.readout import Contrast, class_logits, find_logits
from ..attribution.spots import Spot, Spots
from ..errors import ArgumentError, TargetError
from ..texts.encoding import Encoded, position_limit
from ..texts.windows import Document
from .answers import best_span, fields_of, span_given, spots_of
from .asked import Asked, Posed
from .kinds import Task, task_of
from .masks import logits_field
from .posing import posed_as, task_asked

__all__ = ["Reading", "pose_documents"]


@dataclass(frozen=True)
class Reading:
    """How a batch of texts is explained window by window.

    Attributes:
        posed: A question for each explained window, those of an example together.
        rows: For each example its document and the numbers of its explained windows.
        target: What is explained, by the documents' positions; None where each
            question has the same target as its example.
    """

    posed: list[Posed]
    rows: list[tuple[int, list[int]]]
    target: Spots | None


@dataclass(frozen=True)
class _Whole(Asked):
    """A question about documents, with an output that no single call returned.

    Attributes:
        joined: The output, by the documents' positions.
    """

    joined: Any = None

    @cached_property
    def output(self) -> Any:
        """What the model returned in the window of each token."""
        return self.joined


def pose_documents(
    model: nn.Module,
    tokenizer: Any,
    batch: Encoded,
    documents: Sequence[Document],
    target: Any,
) -> Reading:
    """Find out what is to be explained of texts that are read in windows.

    A label of the whole text is explained in all windows, for the class that is best in
    their mean. What stands at a token is explained in the window in which the token has
    most context, and the best answer in the window that has it.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        batch: All texts.
        documents: Each of them with its windows.
        target: See `explain`; positions count the tokens of the document.

    Returns:
        The questions.

    Raises:
        ArgumentError: If the model says what comes next, which only the end of a text
            tells.
        TargetError: If the target is a function of what stands at positions.
    """
    if task_of(model) is Task.NEXT_TOKEN:
        raise ArgumentError(
            f"stride= reads a text in windows, but a {type(model).__name__} says what "
            "comes after the end of a text, and no earlier window knows its end. Pass "
            f"the end alone, at most {position_limit(model)} tokens, without stride=."
        )
    asked = [
        [
            Asked(model, tokenizer, window.encoded.batch, window.encoded, target)
            for window in document.windows
        ]
        for document in documents
    ]
    task = task_asked(asked[0][0])
    if task is Task.CHOSEN and _is_placed(asked[0][0]):
        raise TargetError(
            "target is a function, and this model says something at each position, "
            "which is another token in each window. Pass (position or word, label), "
            "'start', 'end' or a span, by the positions of the whole text."
        )
    if task is Task.ANSWER:
        return _answers(_whole(asked, batch, None), asked, documents)
    if task in {Task.TOKENS, Task.MASKED_TOKEN}:
        joined = {logits_field(asked[0][0]): _own_logits(asked, documents)}
        return _tokens(task, _whole(asked, batch, joined), documents)
    return _means(task, asked, target)


def _is_placed(asked: Asked) -> bool:
    """Tell whether a model's output has entries for each position."""
    logits = asked.field("logits")
    placed = logits is not None and logits.ndim > 2
    return placed or asked.field("start_logits") is not None


def _whole(asked: list[list[Asked]], batch: Encoded, joined: Any) -> _Whole:
    """Return the question about the documents themselves."""
    first, ids = asked[0][0], batch.batch
    if isinstance(ids, Mapping):
        ids = ids["input_ids"]
    rows = {"input_ids": ids, "document": torch.arange(len(ids))}
    return _Whole(first.model, first.tokenizer, rows, batch, first.target, joined)


def _means(task: Task | None, asked: list[list[Asked]], target: Any) -> Reading:
    """Explain every window, for one target of each document."""
    if target is None:
        wanted = [_best_class(windows) for windows in asked]
    else:
        wanted = _of_each(target, len(asked))
    posed = [
        each.posed(own, task)
        for windows, own in zip(asked, wanted, strict=True)
        for each in windows
    ]
    rows = [(row, list(range(len(windows)))) for row, windows in enumerate(asked)]
    return Reading(posed, rows, None)


def _best_class(windows: list[Asked]) -> int:
    """Return the class with the largest mean of logits over windows."""
    rows = []
    for each in windows:
        named = isinstance(each.batch, Mapping)
        mask = each.batch.get("attention_mask") if named else None
        rows.append(class_logits(each.output, 1, mask)[0].detach().double())
    return int(torch.stack(rows).mean(0).argmax())


def _of_each(target: Any, count: int) -> list[Any]:
    """Give each document its own target, as one is given to each example of a batch."""
    if isinstance(target, Contrast):
        sides = (_of_each(side, count) for side in (target.a, target.b))
        return [Contrast(*pair) for pair in zip(*sides, strict=True)]
    if hasattr(target, "__array__") and torch.as_tensor(target).ndim < 2:
        target = torch.as_tensor(target).tolist()
    if not isinstance(target, (list, tuple)):
        return [target] * count
    if len(target) != count:
        raise TargetError(
            f"target has {len(target)} entries for {count} examples; pass one for all, "
            "or one for each."
        )
    return list(target)


def _own_logits(asked: list[list[Asked]], documents: Sequence[Document]) -> Tensor:
    """Return the logits [B, T, C] of each token in the window where it knows most."""
    found = []
    for windows, document in zip(asked, documents, strict=True):
        logits = [find_logits(each.output)[0].detach() for each in windows]
        rows = []
        for place in range(len(document.whole.tokens[0])):
            number = document.own(place)
            assert number is not None
            rows.append(logits[number][document.windows[number].place_of(place)])
        found.append(torch.stack(rows))
    return torch.nn.utils.rnn.pad_sequence(found, batch_first=True)


def _tokens(task: Task, whole: _Whole, documents: Sequence[Document]) -> Reading:
    """Explain what stands at a token, in the token's own window."""
    posed = posed_as(task, whole)
    target, places = posed.target, posed.batch["document"].tolist()
    found = []
    for number, spots in zip(places, target.spots, strict=True):
        window = documents[number].own(spots[0].place[0])
        assert window is not None
        found.append((number, window, spots))
    return _placed(task, target, found, documents)


def _answers(
    whole: _Whole, asked: list[list[Asked]], documents: Sequence[Document]
) -> Reading:
    """Explain the best answer of all windows, in the window that has it."""
    found, names = [], []
    for number, target in enumerate(whole.each(whole.target)):
        fields_of(target)
        document = documents[number]
        if isinstance(target, tuple):
            length = len(document.whole.tokens[0])
            span = span_given(whole, target, number, length)
            window = document.own(*span)
            if window is None:
                raise TargetError(
                    f"target={target!r} is a span from {span[0]} to {span[1]} that no "
                    "window has as a whole. Pass a shorter span, or a larger stride."
                )
        else:
            best = [best_span(each, 0) for each in asked[number]]
            sums = [total for total, _ in best]
            window = sums.index(max(sums))
            first, last = best[window][1]
            at = document.windows[window].places
            span = at[first], at[last]
        spots, name = spots_of(whole, number, span, target)
        found.append((number, window, spots))
        names.append(name)
    target = Spots(tuple(spots for *_, spots in found), tuple(names))
    return _placed(Task.ANSWER, target, found, documents)


def _placed(
    task: Task,
    target: Spots,
    found: list[tuple[int, int, tuple[Spot, ...]]],
    documents: Sequence[Document],
) -> Reading:
    """Ask each window for the entries of its own output."""
    posed = []
    for (number, chosen, spots), name in zip(found, target.names, strict=True):
        window = documents[number].windows[chosen]
        inside = tuple(
            Spot(spot.field, (window.place_of(spot.place[0]), *spot.place[1:]))
            for spot in spots
        )
        own = Spots((inside,), (name,))
        posed.append(Posed(window.encoded.batch, window.encoded, own, task))
    return Reading(posed, [(number, [chosen]) for number, chosen, _ in found], target)
