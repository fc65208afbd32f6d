"""Moments in time: a token that is heard at a frame, a step of a forecast."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..attribution.spots import Spot, Spots, field_of
from ..attribution.usual import forecast_of, spots_of_frames
from ..errors import TargetError
from ..support.numbers import is_whole
from .asked import Asked, Posed
from .kinds import Task
from .vocabulary import token_named

__all__ = ["forecast", "heard"]


def heard(asked: Asked) -> Posed:
    """Pose a question about what a recogniser of speech hears at a frame.

    Args:
        asked: The question; its target is ``(frame, token)``, a token for the frame at
            which it is clearest, one for each example, or None for the token that the
            model is surest of, silence aside.

    Returns:
        The question about one logit of each example.
    """
    logits = asked.field("logits")
    assert logits is not None
    blank = getattr(getattr(asked.model, "config", None), "pad_token_id", None)
    best = spots_of_frames(logits, blank)
    chosen = [
        best[row] if target is None else _heard(asked, target, logits[row])
        for row, target in enumerate(asked.each(asked.target))
    ]
    names = tuple(f"{_token(asked, token)} at frame {f}" for f, token in chosen)
    spots = tuple((Spot("logits", at),) for at in chosen)
    return asked.posed(Spots(spots, names), Task.FRAMES)


def forecast(asked: Asked) -> Posed:
    """Pose a question about a step of a forecast.

    Args:
        asked: The question; its target is a step, ``(step, variable)`` where there are
            several variables, one for each example, or None for the first step of the
            first variable.

    Returns:
        The question about one number of each example.

    Raises:
        TargetError: If the model returns no forecast.
    """
    field = forecast_of(asked.output, asked.model)
    values = None if field is None else field_of(asked.output, field)
    if field is None or values is None:
        raise TargetError(
            f"{type(asked.model).__name__} returns no forecast that is known here; "
            "pass target=a function of its output."
        )
    each = asked.each(asked.target)
    places = [_step(target, tuple(values.shape[1:])) for target in each]
    names = tuple(
        f"step {place[0]}" + (f" of variable {place[1]}" if len(place) > 1 else "")
        for place in places
    )
    return asked.posed(
        Spots(tuple((Spot(field, place),) for place in places), names), Task.FORECAST
    )


def _heard(asked: Asked, target: Any, logits: Tensor) -> tuple[int, int]:
    """Return the frame and the token that are explained, of logits [T, V]."""
    frames, tokens = logits.shape
    pair: tuple[Any, Any] = (None, target)
    if isinstance(target, tuple):
        pair = target if len(target) == 2 else (target, None)
    frame, token = pair
    if isinstance(token, str):
        token = token_named(asked.tokenizer, token)
    if not is_whole(token) or not 0 <= int(token) < tokens:
        raise TargetError(
            f"target={target!r} is no token of this model; pass a token's id from 0 to "
            f"{tokens - 1}, its name with tokenizer=, or (frame, token)."
        )
    if frame is None:
        return int(logits.detach().double().softmax(-1)[:, int(token)].argmax()), int(
            token
        )
    if not is_whole(frame) or not 0 <= int(frame) < frames:
        raise TargetError(
            f"target={target!r} names the frame {frame!r}; they are 0 to {frames - 1}."
        )
    return int(frame), int(token)


def _token(asked: Asked, token: int) -> str:
    if asked.tokenizer is None:
        return f"token {token}"
    return str(asked.tokenizer.convert_ids_to_tokens([token])[0])


def _step(target: Any, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the entry of a forecast, [T] or [T, V], that is meant."""
    place = target if isinstance(target, tuple) else (target,)
    if target is None:
        place = (0,) * len(sizes)
    if len(place) != len(sizes) or not all(map(is_whole, place)):
        what = "(step, variable)" if len(sizes) > 1 else "a step"
        raise TargetError(f"target={target!r} must be {what}, of {list(sizes)}.")
    if any(not 0 <= p < size for p, size in zip(place, sizes, strict=True)):
        raise TargetError(f"target={target!r} lies outside of {list(sizes)} numbers.")
    return tuple(map(int, place))
