"""Texts and pairs of texts, in whatever a caller holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import TextError
from .listing import as_list, is_missing

__all__ = ["Text", "as_texts", "parted"]

Text = str | tuple[str, str]
"""A text, or a pair of them."""

_PAIR = ("text", "text_pair")


def as_texts(inputs: object) -> list[Text] | None:
    """Tell texts, and pairs of texts, from tensors.

    Args:
        inputs: What a caller wants explained: a text; a pair, as a tuple or as
            ``{"text": ..., "text_pair": ...}``; such in a list, a series, an array or a
            column; or anything else.

    Returns:
        The texts and pairs, or ``None`` if the inputs are none.

    Raises:
        TextError: If there are no texts in the list, or something else as well.
    """
    if isinstance(inputs, Mapping):
        return _from_mapping(inputs)
    if isinstance(inputs, tuple) and any(isinstance(each, str) for each in inputs):
        inputs = [inputs]
    if _is_text(inputs):
        return [inputs]  # type: ignore[list-item]
    entries = as_list(inputs)
    if entries is None:
        return None
    if isinstance(inputs, list):  # the rows of a table are no texts
        entries = [_paired(entry) for entry in entries]
    if not entries:
        raise TextError("the list of texts is empty. Pass at least one text.")
    others = [i for i, entry in enumerate(entries) if not _is_text(entry)]
    named = any(is_missing(entries[i]) or _holds_text(entries[i]) for i in others)
    if len(others) == len(entries) and not named:
        return None
    if others:
        raise TextError(
            f"text {others[0] + 1} of {len(entries)} is {entries[others[0]]!r:.40}, "
            "which is no string and no pair of strings. Pass such, or leave it out."
        )
    return [each if isinstance(each, tuple) else str(each) for each in entries]


def parted(inputs: object, decoder: Any) -> tuple[object, Any]:
    """Take what a decoder has said so far out of ``{"text": ..., "decoder": ...}``.

    Args:
        inputs: What a caller wants explained.
        decoder: What the decoder has said, if it was passed beside it.

    Returns:
        The inputs without it, and what the decoder has said or None.

    Raises:
        TextError: If it came twice.
    """
    held = isinstance(inputs, Mapping) and {"text", "decoder"} <= inputs.keys()
    if not held:
        return inputs, decoder
    assert isinstance(inputs, Mapping)
    if decoder is not None:
        raise TextError(
            "decoder came both as decoder= and within inputs_or_text. Pass it once."
        )
    rest = {key: value for key, value in inputs.items() if key != "decoder"}
    return rest, inputs["decoder"]


def _is_text(value: object) -> bool:
    pair = isinstance(value, tuple) and len(value) == 2
    return isinstance(value, str) or (
        pair and all(isinstance(each, str) for each in value)  # type: ignore[attr-defined]
    )


def _holds_text(value: object) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(v, str) for v in value)


def _from_mapping(inputs: Mapping[Any, Any]) -> list[Text] | None:
    """Read ``{"text": ..., "text_pair": ...}``; None where it holds no texts."""
    columns = [_column(inputs[key]) for key in _PAIR if inputs.get(key) is not None]
    if inputs.get("text") is None or any(column is None for column in columns):
        return None
    unknown = [key for key in inputs if key not in _PAIR]
    if unknown:
        raise TextError(
            f"inputs has the key {unknown[0]!r} beside 'text'; a text comes as "
            "{'text': ...}, a pair as {'text': ..., 'text_pair': ...}, a text and what "
            "a decoder has said so far as {'text': ..., 'decoder': ...}."
        )
    counts = [len(column) for column in columns if column is not None]
    if len(set(counts)) > 1:
        raise TextError(
            f"inputs has {counts[0]} 'text' and {counts[1]} 'text_pair'; pass as many "
            "of one as of the other."
        )
    rows = list(zip(*columns, strict=True))
    return as_texts([row[0] for row in rows] if len(columns) == 1 else rows)


def _column(value: Any) -> list[Any] | None:
    """Return one text, or those of a column; None for what holds none."""
    return [value] if isinstance(value, str) else as_list(value)


def _paired(entry: Any) -> Any:
    """Return an entry of a list as a text or a pair, where it is a mapping of one."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("text"), str):
        return entry
    found = _from_mapping(entry)
    return entry if found is None else found[0]
