"""The next token: it may be told by its name."""

from __future__ import annotations

from typing import Any

from ..attribution.readout import Contrast, label_id
from .asked import Asked, Posed
from .kinds import Task
from .masks import token_id

__all__ = ["following"]


def following(asked: Asked) -> Posed:
    """Pose a question about the token that comes next.

    Args:
        asked: The question; its target is a token, the text of one or its id, one for
            each example, a `Contrast`, or None for the arg-max.

    Returns:
        The question about the logit of a token.
    """
    return asked.posed(_ids(asked, asked.target), Task.NEXT_TOKEN)


def _ids(asked: Asked, target: Any) -> Any:
    if isinstance(target, Contrast):
        return Contrast(_ids(asked, target.a), _ids(asked, target.b))
    if isinstance(target, list | tuple):
        return type(target)(_ids(asked, each) for each in target)
    known = asked.tokenizer is not None and isinstance(target, str)
    if not known or label_id(asked.model, target) is not None:
        return target
    return token_id(asked.tokenizer, target, 0)
