"""What a request asks, checked before anything is done."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from .refusal import Refusal

__all__ = ["Question"]

LONGEST_NAME = 200


@dataclass(frozen=True)
class Question:
    """One text, and how it is to be explained.

    Args:
        text: The text.
        method: An explainer's name.
        rules: A rule set's name, for method lrp alone, or ``None`` for its default.
        target: A label, a language model's token, or ``None`` for the prediction.
        words: Whether the scores of sub-words are merged to those of words.
    """

    text: str
    method: str = "lrp"
    rules: str | None = None
    target: str | None = None
    words: bool = False

    @classmethod
    def read(cls, body: bytes) -> Question:
        """Read a request's body.

        Args:
            body: A JSON object in UTF-8, with no keys but these fields.

        Returns:
            The question.

        Raises:
            Refusal: If it is anything else.
        """
        try:
            value = json.loads(body.decode())
        except (ValueError, RecursionError) as error:
            raise Refusal(400, f"the body is no JSON in UTF-8: {error}.") from error
        if not isinstance(value, dict):
            raise Refusal(
                400, f"the body is a {type(value).__name__}, not a JSON object."
            )
        if "text" not in value:
            raise Refusal(400, "there is no 'text'. Send the text to be explained.")
        for name, given in value.items():
            _check(name, given)
        return cls(**value)


def _check(name: str, value: Any) -> None:
    """Refuse what no field takes.

    Raises:
        Refusal: If there is no such field, or its value has another type or length.
    """
    known = [field.name for field in fields(Question)]
    if name not in known:
        raise Refusal(
            400, f"{name[:LONGEST_NAME]!r} is no key; it must be one of {known}."
        )
    kind, optional = _KINDS[name]
    if not (isinstance(value, kind) or (optional and value is None)):
        allowed = _NAMES[kind] + " or null" * optional
        raise Refusal(
            400,
            f"{name!r} is {_NAMES.get(type(value), 'something else')}; "
            f"it must be {allowed}.",
        )
    if name != "text" and isinstance(value, str) and len(value) > LONGEST_NAME:
        raise Refusal(
            400,
            f"{name!r} has {len(value):,} characters; at most {LONGEST_NAME} are read.",
        )


_KINDS: dict[str, tuple[type, bool]] = {
    "text": (str, False),
    "method": (str, False),
    "rules": (str, True),
    "target": (str, True),
    "words": (bool, False),
}
_NAMES: dict[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
