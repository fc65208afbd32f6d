"""What there is to show of an explanation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import ArgumentError
from ..render.pictures import backgrounds
from ..support.marks import spelled
from ..views.explanation import Account, Example, Picture, Strip, View
from .ledger import Ledger
from .pictured import montage, picture_of, sound_of
from .words import line_breaks, read_pieces

__all__ = ["method_of", "view"]

_OF_TOKENS = ("next token", "masked token")
"""Tasks the targets of which are tokens."""
MANY = 100
"""Scores of a picture of which some may be outliers."""
SHARE = 0.99
"""The quantile of those that has full colour."""


class Explained(Protocol):
    """What is shown of an explanation; its fields are those of `Explanation`."""

    scores: Tensor | dict[str, Tensor]
    output: Tensor
    method: str
    tokens: list[list[str]] | None
    attended: Tensor | None
    images: Tensor | None
    meta: dict[str, Any]

    @property
    def targets(self) -> list[str]:
        """The explained target of each example."""


def view(explanation: Explained, whole: bool = False) -> View:
    """Collect what there is to show.

    Args:
        explanation: Of any explainer.
        whole: Whether every score is wanted, pixel by pixel and sample by sample.

    Returns:
        Plain numbers and strings, none of them escaped yet.
    """
    tensors = _tensors(explanation)
    shown = _pictures(explanation)
    outputs = explanation.output.detach().flatten().tolist()
    accounts = _accounts(explanation)
    pieces = _pieces(explanation)
    predictions = explanation.meta.get("prediction")
    deltas = explanation.meta.get("convergence_delta")
    told = _told(explanation)
    examples = [
        Example(
            target=target,
            output=outputs[b],
            parts=[
                part
                for name, s in tensors.items()
                for part in _parts(explanation, name, s, b, shown, pieces[b], whole)
            ],
            account=accounts[b] if accounts else None,
            prediction=predictions[b] if predictions else "",
            delta=deltas[b] if deltas else None,
            spelled=told[b],
        )
        for b, target in enumerate(explanation.targets)
    ]
    scale, most = _scale(examples)
    return View(
        method_of(explanation),
        scale,
        examples,
        beyond=most > scale,
        of_target=explanation.meta.get("class_specific", True),
    )


def _told(explanation: Any) -> list[str]:
    """Return the explained targets; of tokens the text, not their marks."""
    meta = explanation.meta
    labels, mark = meta.get("labels"), meta.get("subwords")
    if mark is None or not labels or meta.get("task") not in _OF_TOKENS:
        return list(explanation.targets)
    texts = dict(zip(labels, spelled(list(labels.values()), mark), strict=True))
    return list(replace(explanation, meta={**meta, "labels": texts}).targets)


def method_of(explanation: Explained) -> str:
    """Name what explained.

    Args:
        explanation: Of any explainer.

    Returns:
        The method, with its rule set where it has one.
    """
    rules = explanation.meta.get("rules")
    return f"{explanation.method} ({rules})" if rules else explanation.method


def _tensors(explanation: Explained) -> dict[str, Tensor]:
    """Return the scores by name, ``""`` for the name of a single tensor.

    Raises:
        ArgumentError: If they have a shape that cannot be shown.
    """
    scores = explanation.scores
    named = {"": scores} if isinstance(scores, Tensor) else scores
    for name, tensor in named.items():
        where = f" of {name!r}" if name else ""
        if len(tensor) != len(explanation.output):
            raise ArgumentError(
                f"scores{where} have the shape {list(tensor.shape)}, but there are "
                f"{len(explanation.output)} outputs, so they are of no example alone "
                "and cannot be shown. Read what starts with the examples."
            )
        if tensor.dim() not in {1, 2, 3, 4}:
            raise ArgumentError(
                f"scores{where} have the shape {list(tensor.shape)}; [B], [B, T], "
                "[B, H, W] and [B, F, H, W] can be shown. Sum over the other "
                "dimensions first."
            )
    return {name: tensor.detach().cpu() for name, tensor in named.items()}


def _pictures(explanation: Explained) -> list[Tensor] | None:
    """Return the pictures to lay images of scores over, if there are any."""
    images = explanation.images
    if images is None or explanation.meta.get("sounds"):
        return None
    if (
        isinstance(images, Tensor) and images.dim() == 5
    ):  # frames, or several images an example
        return [montage(torch.stack(backgrounds(f, len(f)))) for f in images]
    return backgrounds(images, len(explanation.output))


def _parts(
    explanation: Explained,
    name: str,
    scores: Tensor,
    b: int,
    pictures: list[Tensor] | None,
    pieces: Sequence[str],
    whole: bool,
) -> list[Strip | Picture]:
    """Return the scores of one example, read at one tensor; choices are rows."""
    choices = explanation.meta.get("choices")
    if choices is None or scores.dim() != 3:
        return [_part(explanation, name, scores, b, pictures, pieces, whole)]
    special = explanation.meta["special"][b]
    head = f"{name}: " if name else ""
    return [
        Strip(
            f"{head}choice {number}",
            tokens=list(tokens),
            scores=scores[b, number, : len(tokens)].tolist(),
            special=list(special[number]),
            breaks=[0] * len(tokens),
        )
        for number, tokens in enumerate(choices[b])
    ]


def _part(
    explanation: Explained,
    name: str,
    scores: Tensor,
    b: int,
    pictures: list[Tensor] | None,
    pieces: Sequence[str],
    whole: bool,
) -> Strip | Picture:
    """Return the scores of one example, read at one tensor."""
    if scores.dim() >= 3:
        image = None if pictures is None or whole else pictures[b]
        if whole:
            return Picture(name, scores[b] if scores.dim() == 3 else montage(scores[b]))
        return picture_of(explanation, name, scores, b, image)
    if not whole and scores.dim() == 2:
        sounds = explanation.images if explanation.meta.get("sounds") else None
        heard = None if sounds is None else sounds[b]
        found = sound_of(explanation, name, scores[b], heard)
        if found is not None:
            return found
    row = scores[b].reshape(-1)
    tokens, longest = _tokens(explanation, b, len(row))
    flags = explanation.meta.get("special")
    special = flags[b] if flags else []
    shown = [t for t in range(len(row)) if t < len(tokens) or t >= longest]
    attended = explanation.attended
    if attended is not None and attended.shape == scores.shape:
        shown = [t for t in shown if attended[b, t]]
    return Strip(
        name,
        tokens=[_label(explanation, tokens, longest, t) for t in shown],
        scores=[float(row[t]) for t in shown],
        special=[t < len(tokens) and t < len(special) and special[t] for t in shown],
        breaks=line_breaks([pieces[t] if t < len(pieces) else "" for t in shown]),
        spelled=_spelled(explanation, tokens, longest, shown, pieces, special),
    )


def _spelled(
    explanation: Explained,
    tokens: list[str],
    longest: int,
    shown: Sequence[int],
    pieces: Sequence[str],
    special: Sequence[bool],
) -> list[str]:
    """Return the text of each token that is shown, where marks hide it."""
    mark = explanation.meta.get("subwords")
    if mark is None or len(pieces) != len(tokens):
        return []
    flags = [t < len(special) and special[t] for t in range(len(tokens))]
    texts = spelled(tokens, mark, pieces, flags)
    return [
        texts[t] if t < len(tokens) else _label(explanation, tokens, longest, t)
        for t in shown
    ]


def _pieces(explanation: Explained) -> Sequence[Sequence[str]]:
    """Return the text that each token of each example stands for."""
    if explanation.tokens is None:
        return [[]] * len(explanation.output)
    meta = explanation.meta
    return read_pieces(
        explanation.tokens,
        meta.get("special"),
        meta.get("subwords"),
        meta.get("pieces"),
    )


def _label(explanation: Explained, tokens: list[str], longest: int, t: int) -> str:
    """Return a token, or the name of a column behind all tokens."""
    extra = explanation.meta.get("extra", [])
    if t < len(tokens):
        return tokens[t]
    return str(extra[t - longest]) if 0 <= t - longest < len(extra) else str(t)


def _tokens(explanation: Explained, b: int, length: int) -> tuple[list[str], int]:
    """Return the tokens of an example, and how many the longest example has."""
    if explanation.tokens is not None:
        longest = max(map(len, explanation.tokens))
        if longest <= length:
            return explanation.tokens[b], longest
    return [str(t) for t in range(length)], length


def _accounts(explanation: Explained) -> list[Account] | None:
    """Return the ledger of each example, if the explanation has a ledger."""
    ledger: Ledger | None = getattr(explanation, "ledger", None)
    if ledger is None:
        return None
    inputs = "inputs" if explanation.tokens is None else "tokens"
    groups = _rows({
        inputs if k == "inputs" else k: v for k, v in ledger.groups.items()
    })
    sources = _rows(ledger.sources) or [[] for _ in groups]
    totals, errors = ledger.total.tolist(), ledger.error.tolist()
    return [Account(*row) for row in zip(groups, sources, totals, errors, strict=True)]


def _rows(columns: Mapping[str, Tensor]) -> list[list[tuple[str, float]]]:
    """Return the named numbers of each example."""
    numbers = zip(*(values.tolist() for values in columns.values()), strict=True)
    return [list(zip(columns, row, strict=True)) for row in numbers]


def _scale(examples: list[Example]) -> tuple[float, float]:
    """Return the score of full colour, and the largest finite absolute one.

    A few outliers of a picture are no reason for all else to be pale.
    """
    scale, largest = 0.0, 0.0
    for part in (part for example in examples for part in example.parts):
        if isinstance(part, Picture):
            finite = part.scores[torch.isfinite(part.scores)].abs().double()
            if not finite.numel():
                continue
            most = float(finite.max())
            held = finite[finite > 0]
            many = held.numel() >= MANY
            scale = max(scale, float(held.quantile(SHARE)) if many else most)
            largest = max(largest, most)
        else:
            most = max((abs(s) for s in part.scores if math.isfinite(s)), default=0.0)
            scale, largest = max(scale, most), max(largest, most)
    return scale, largest
