"""Masked language modelling: the token that stands in a mask's place."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..attribution.readout import Contrast, find_logits
from ..attribution.spots import Spot, Spots
from ..errors import TargetError, TextError
from ..support.numbers import is_whole
from .asked import Asked, Posed
from .kinds import Task
from .places import place_of
from .vocabulary import token_named

__all__ = ["logits_field", "mask_places", "masked"]


def masked(asked: Asked) -> Posed:
    """Pose a question about what stands in a mask's place.

    Args:
        asked: The question; its target is a token or its id, ``(position, token)``
            where there are several masks, one for each example, or None for the most
            likely token.

    Returns:
        The question about the logit of a token at a mask.
    """
    logits = find_logits(asked.output)
    field = logits_field(asked)
    spots, names = [], []
    for row, target in enumerate(asked.each(asked.target)):
        place, wanted = _place(asked, target, row, logits.shape[1])
        token = (
            int(logits[row, place].argmax())
            if wanted is None
            else _token(asked.tokenizer, wanted, logits.shape[2])
        )
        spots.append((Spot(field, (place, token)),))
        names.append(_said(asked, token, place))
    return asked.posed(Spots(tuple(spots), tuple(names)), Task.MASKED_TOKEN)


def logits_field(asked: Asked) -> str:
    """Tell what a model calls its logits.

    Args:
        asked: The question.

    Returns:
        The name of the output.
    """
    logits, known = find_logits(asked.output), ("logits", "prediction_logits")
    return next((name for name in known if asked.field(name) is logits), known[0])


def _place(asked: Asked, target: Any, row: int, length: int) -> tuple[int, Any]:
    """Return the position of the mask that is meant, and the target without it."""
    if isinstance(target, Contrast):
        raise TargetError(
            "target is a Contrast; for a mask pass a function of the model's output, "
            "such as lambda output: output.logits[:, 2, a] - output.logits[:, 2, b]."
        )
    if isinstance(target, tuple):
        if len(target) != 2:
            raise TargetError(f"target={target!r} must be (position, token).")
        return place_of(asked, target[0], row, length), target[1]
    mask = getattr(asked.tokenizer, "mask_token_id", None)
    if mask is None or asked.ids is None:
        raise TargetError(
            "the target is what stands in a mask's place, but without a tokenizer that "
            "has a mask it cannot be found. Pass tokenizer=, or (position, token)."
        )
    places = mask_places(asked.tokenizer, asked.ids[row])
    if len(places) > 1:
        name = asked.tokenizer.mask_token
        raise TargetError(
            f"the text has {len(places)} {name}, at the positions {places}; pass "
            "target=(position, token) to say which."
        )
    return places[0], target


def mask_places(tokenizer: Any, ids: Tensor) -> list[int]:
    """List the masks of a text.

    Args:
        tokenizer: A tokenizer that has a mask.
        ids: The tokens of the text, [T].

    Returns:
        Their positions.

    Raises:
        TextError: If there is none.
    """
    places: list[int] = (ids == tokenizer.mask_token_id).nonzero().flatten().tolist()
    name = tokenizer.mask_token
    if not places:
        raise TextError(
            f"the text has no {name}: this model says what stands in its place. Write "
            f"{name} where it is to guess, or pass target=(position, token)."
        )
    return places


def _token(tokenizer: Any, wanted: Any, size: int) -> int:
    """Return the id of a token of the vocabulary.

    Raises:
        TargetError: If it is no id below ``size``.
    """
    if isinstance(wanted, str):
        return token_named(tokenizer, wanted)
    if not is_whole(wanted) or not 0 <= int(wanted) < size:
        raise TargetError(
            f"target={wanted!r} must be a token or an id from 0 to {size - 1}."
        )
    return int(wanted)


def _said(asked: Asked, token: int, place: int) -> str:
    if asked.tokenizer is None:
        return f"{token} at {place}"
    return f"{asked.tokenizer.convert_ids_to_tokens(token)} at {place}"
