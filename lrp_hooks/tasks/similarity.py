"""Two towers: the similarity of each text with the image, or sound, beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..attribution.pairs import GRID, Pairs, similarity
from ..attribution.readable import is_plain
from ..errors import ArgumentError, TargetError
from ..texts.encoding import padding_id, position_limit, read_tokens
from .asked import Asked, Posed
from .kinds import Task

__all__ = ["EVERY_PAIR", "compared", "is_compared", "similarity"]

EVERY_PAIR = "pairs"
"""The target that explains each text with each image, one pair a row."""


def is_compared(asked: Asked) -> bool:
    """Tell whether a model compares each text with each of something else.

    Args:
        asked: The question.

    Returns:
        Whether its output is a grid of similarities.
    """
    grid = asked.field(GRID)
    return grid is not None and grid.ndim == 2


def compared(asked: Asked) -> Posed:
    """Pose a question about the similarity of each text with what stands beside it.

    Args:
        asked: The question; its target is None, or `EVERY_PAIR`.

    Returns:
        The question about both sides.

    Raises:
        ArgumentError: If the sides have different numbers of rows, or are not named.
        TargetError: If there is a target.
    """
    every = isinstance(asked.target, str) and asked.target == EVERY_PAIR
    if asked.target is not None and not every:
        raise TargetError(
            f"target={asked.target!r} must be left out: {type(asked.model).__name__} "
            "compares, and each text is explained with what stands beside it. For all "
            f"texts with all images pass {EVERY_PAIR!r}, for another text that one, or "
            "a function of the model's output."
        )
    asked = _as_trained(asked)
    sides = _sides(asked)
    if every:
        return _every_pair(asked, sides)
    counts = {name: len(asked.batch[name]) for name in sides}
    if len(set(counts.values())) > 1:
        raise ArgumentError(
            "each text is explained with what stands beside it, but inputs have "
            f"{' and '.join(f'{n} rows of {name}' for name, n in counts.items())}. "
            "Pass as many of one as of the other, or target='pairs' for all with all."
        )
    return Posed(asked.batch, asked.encoded, similarity, Task.SIMILARITY, read=sides)


def _every_pair(asked: Asked, sides: tuple[str, ...]) -> Posed:
    """Ask of each text with each of what it is compared with, one pair a row."""
    texts = len(asked.batch["input_ids"])
    (other,) = (len(asked.batch[name]) for name in sides[:2] if name != "input_ids")
    text = torch.arange(texts).repeat(other)
    beside = torch.arange(other).repeat_interleave(texts)

    def paired(name: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        is_text = value.shape[:2] == asked.batch["input_ids"].shape
        return value[(text if is_text else beside).to(value.device)]

    batch = {name: paired(name, value) for name, value in asked.batch.items()}
    rows = text.tolist()
    encoded = None if asked.encoded is None else asked.encoded.chosen(batch, rows)
    names = [f"{b} with text {a}" for a, b in zip(rows, beside.tolist(), strict=True)]
    return Posed(batch, encoded, Pairs(tuple(names)), Task.SIMILARITY, read=sides)


def _sides(asked: Asked) -> tuple[str, ...]:
    """Name the inputs that carry content: floats that are no masks, and the ids."""
    named = asked.batch if isinstance(asked.batch, Mapping) else {}
    tensors = {n: v for n, v in named.items() if isinstance(v, Tensor)}
    floats = [n for n, v in tensors.items() if is_plain(v) and "mask" not in n]
    if not floats or "input_ids" not in tensors:
        raise ArgumentError(
            'inputs must be a mapping with "input_ids" and what the texts are '
            f"compared with; they have {', '.join(map(repr, named)) or 'no names'}. "
            "Pass what the model's processor returns, or (pixel values, text)."
        )
    return tuple(n for n in tensors if n in floats or n == "input_ids")


def _as_trained(asked: Asked) -> Asked:
    """Fill texts with padding where the model reads padding."""
    # SigLIP reads a text at its last position, and was trained on texts that fill all
    # positions, without an attention mask.
    limit = position_limit(asked.model)
    known = asked.encoded is not None and asked.encoded.texts is not None
    if limit is None or not known or not _reads_padding(asked, limit):
        return asked
    batch = _resized(asked, limit)
    batch.pop("attention_mask", None)
    return replace(asked, batch=batch, encoded=read_tokens(asked.tokenizer, batch))


def _reads_padding(asked: Asked, limit: int) -> bool:
    """Tell whether the shortest text is another one to the model with padding."""
    lengths = asked.batch["attention_mask"].sum(1)
    row = int(lengths.argmin())
    grids = []
    for length in (int(lengths[row]), limit):
        batch = _resized(asked, length)
        alone = {name: value[row : row + 1] for name, value in batch.items()}
        grids.append(replace(asked, batch=alone).field(GRID))
    first, second = grids
    assert first is not None and second is not None
    tolerance = torch.finfo(first.dtype).eps ** 0.5
    return not torch.allclose(first, second, rtol=tolerance, atol=tolerance)


def _resized(asked: Asked, length: int) -> dict[str, Tensor]:
    """Return the batch with texts cut, or filled, to a length."""
    shape = asked.batch["input_ids"].shape
    more = (0, length - shape[1])
    filler = {"input_ids": padding_id(asked.model, asked.tokenizer)}
    return {
        name: pad(value, more, value=filler.get(name, 0))
        if value.shape == shape
        else value
        for name, value in asked.batch.items()
    }
