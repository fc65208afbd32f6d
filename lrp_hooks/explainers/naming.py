"""What scores are of: the tokens and the names of targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..results.explanation import Explanation
from ..results.target_text import ids_in
from ..tasks import Task, choice_names
from ..texts.encoding import Encoded
from ..texts.spans import pieces_of_each, vocabulary_mark
from ..texts.target_names import target_names
from .encoder_decoders import SIDES, joined

__all__ = ["annotated"]


def annotated(
    explanation: Explanation,
    model: nn.Module,
    tokenizer: Any,
    encoded: Encoded | None,
    pieces: bool = True,
) -> Explanation:
    """Add the tokens and the names of targets.

    Args:
        explanation: What an explainer returned.
        model: The model.
        tokenizer: Its tokenizer, or None.
        encoded: The batch with its tokens, where they are known.
        pieces: Whether to cut out the text of each token, too.

    Returns:
        The explanation with them.
    """
    meta = dict(explanation.meta)
    labels = _labels(explanation, model, tokenizer)
    if labels:
        meta["labels"] = labels
    if encoded is None or not _fits(explanation, encoded):
        return replace(explanation, meta=meta)
    if isinstance(explanation.scores, Mapping) and set(explanation.scores) == {*SIDES}:
        mark = vocabulary_mark(tokenizer)
        return joined(replace(explanation, meta=meta), encoded, mark)
    if encoded.choices is not None:
        meta |= {
            "choices": _by_example(encoded.tokens, encoded.choices),
            "special": _by_example(encoded.special, encoded.choices),
        }
        return replace(explanation, meta=meta)
    meta["special"] = encoded.special
    if encoded.segments is not None:
        meta["segments"] = encoded.segments
    meta["subwords"] = vocabulary_mark(tokenizer)
    if pieces:
        meta["pieces"] = pieces_of_each(encoded, meta["subwords"])
    return replace(explanation, tokens=encoded.tokens, meta=meta)


def _by_example(rows: list[Any], choices: int) -> list[list[Any]]:
    """Put the rows of an example's choices together."""
    return [rows[start : start + choices] for start in range(0, len(rows), choices)]


def _fits(explanation: Explanation, encoded: Encoded) -> bool:
    """Return whether scores, wherever they were read, have a place for each token."""
    scores = explanation.scores
    if isinstance(scores, Mapping):
        return True
    if "sources" in explanation.meta:  # heads, say, which may be as many as tokens
        return False
    longest = max(map(len, encoded.tokens))
    if encoded.choices is not None:
        return scores.dim() == 3 and scores.shape[2] >= longest
    by_token = scores.dim() == 2 or isinstance(explanation.target, str)
    return by_token and scores.shape[1] >= longest


def _labels(
    explanation: Explanation, model: nn.Module, tokenizer: Any
) -> dict[int, str]:
    """Return names of the targets: tokens for a language model, else its labels."""
    scores = explanation.scores
    if explanation.meta.get("task") == Task.CHOICE and isinstance(scores, Tensor):
        return dict(enumerate(choice_names(scores.shape[1])))
    return target_names(model, tokenizer, ids_in(explanation.target))
