"""What a request asks, checked before anything is done."""

from __future__ import annotations

import json
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar, get_args, get_type_hints

from .refusal import Refusal

__all__ = [
    "CircuitQuestion",
    "PassagesQuestion",
    "PictureQuestion",
    "PromptQuestion",
    "TextQuestion",
    "read_question",
]

LONGEST_NAME = 200
MOST_NEW_TOKENS = 512
MOST_WRITTEN_TOKENS = 128  # each takes a backward pass
MOST_HOPS = 8
MOST_CALLS = 512
MOST_NODES = 300

Question = TypeVar("Question")


def _long(purpose: str, default: Any = MISSING) -> Any:
    """Make a field whose text may be long; its length in tokens is checked later."""
    return field(default=default, metadata={"long": True, "purpose": purpose})


def _among(*names: str) -> Any:
    """Make a field that takes one of some names, by default the first."""
    return field(default=names[0], metadata={"among": names})


def _whole(default: int, least: int, most: int) -> Any:
    """Make a field that takes a whole number."""
    return field(default=default, metadata={"least": least, "most": most})


@dataclass(frozen=True)
class TextQuestion:
    """One text, and how it is to be explained.

    Args:
        text: The text.
        method: An explainer's name.
        rules: A rule set's name, for method lrp alone, or ``None`` for its default.
        target: A label, a language model's token, or ``None`` for the prediction.
        words: Whether the scores of sub-words are merged to those of words.
    """

    text: str = _long("the text to be explained")
    method: str = "lrp"
    rules: str | None = None
    target: str | None = None
    words: bool = False


@dataclass(frozen=True)
class PassagesQuestion:
    """Passages and what is asked of them, and how the answer is to be explained.

    Args:
        passages: Texts with blank lines between them.
        question: What is asked.
        answer: What the model is taken to have answered; blank where it writes.
        max_new_tokens: How many tokens it writes at most.
        chat: Whether passages and question are the user's message in a chat.
        sources: What the answer may have drawn on: the ``"passages"``, or all
            ``"paragraphs"`` or ``"sentences"``, those of the question included.
        spans: What is explained of the answer: its ``"sentences"``, or ``"all"``.
        hops: See `explain_answer`, as for the others.
        method: ``"lrp"``, ``"leave_one_out"`` or ``"ablation"``.
        wrt: ``"tokens"`` or ``"cache"``.
        calls: How many ablations are shown.
    """

    passages: str = _long("the passages, with blank lines between them")
    question: str = _long("what is asked")
    answer: str = _long("the answer", "")
    max_new_tokens: int = _whole(100, 1, MOST_NEW_TOKENS)
    chat: bool = False
    sources: str = _among("passages", "paragraphs", "sentences")
    spans: str = _among("sentences", "all")
    hops: int = _whole(0, 0, MOST_HOPS)
    method: str = _among("lrp", "leave_one_out", "ablation")
    wrt: str = _among("tokens", "cache")
    calls: int = _whole(64, 2, MOST_CALLS)


@dataclass(frozen=True)
class CircuitQuestion:
    """One text, and the circuit that is to be found of it.

    Args:
        text: The text.
        target: See `TextQuestion`.
        rules: A rule set's name.
        nodes: ``"neurons"``, ``"heads"`` or ``"both"``.
        max_nodes: How many are kept at most.
    """

    text: str = _long("the text")
    target: str | None = None
    rules: str = "conservative"
    nodes: str = _among("neurons", "heads", "both")
    max_nodes: int = _whole(60, 1, MOST_NODES)


@dataclass(frozen=True)
class PromptQuestion:
    """A prompt, and how what follows it is to be explained.

    Args:
        prompt: The text that the model goes on from.
        continuation: What it is taken to have written; empty where it writes.
        max_new_tokens: How many tokens it writes at most.
        contrast: A token that others are explained rather than; empty for none.
        chat: Whether the prompt is the user's message in a chat.
        rules: A rule set's name.
        words: Whether the scores of sub-words are merged to those of words.
    """

    prompt: str = _long("the text that the model goes on from")
    continuation: str = _long("what follows", "")
    max_new_tokens: int = _whole(20, 1, MOST_WRITTEN_TOKENS)
    contrast: str = ""
    chat: bool = False
    rules: str = "conservative"
    words: bool = False


@dataclass(frozen=True)
class PictureQuestion:
    """One picture, and how it is to be explained.

    Args:
        picture: A file of a picture, in base64.
        method: See `TextQuestion`, as for the others.
        rules: A rule set's name.
        target: A label, or ``None`` for the prediction.
    """

    picture: str = _long("a file of a picture, in base64")
    method: str = "lrp"
    rules: str | None = None
    target: str | None = None


def read_question(kind: type[Question], body: bytes) -> Question:
    """Read a request's body.

    Args:
        kind: One of the dataclasses above.
        body: A JSON object in UTF-8, with no keys but its fields.

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
        raise Refusal(400, f"the body is a {type(value).__name__}, not a JSON object.")
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    for name, each in known.items():
        if each.default is MISSING and name not in value:
            purpose = each.metadata["purpose"]
            raise Refusal(400, f"there is no {name!r}. Send {purpose}.")
    types = get_type_hints(kind)
    for name, given in value.items():
        if name not in known:
            raise Refusal(
                400,
                f"{name[:LONGEST_NAME]!r} is no key; it must be one of {[*known]}.",
            )
        _check_type(name, given, get_args(types[name]) or (types[name],))
        _check_value(known[name], given)
    return kind(**value)


def _check_type(name: str, value: Any, allowed: tuple[type, ...]) -> None:
    """Refuse what is of another type; JSON has no subclasses, so true is no number.

    Raises:
        Refusal: If it is.
    """
    if type(value) not in allowed:
        raise Refusal(
            400,
            f"{name!r} is {_NAMES.get(type(value), 'something else')}; "
            f"it must be {' or '.join(_WANTED[kind] for kind in allowed)}.",
        )


def _check_value(known: Field[Any], value: Any) -> None:
    """Refuse what is too long, too large, or none of the names that a field takes.

    Raises:
        Refusal: If it is.
    """
    name, limits = known.name, known.metadata
    if isinstance(value, str) and not limits.get("long") and len(value) > LONGEST_NAME:
        raise Refusal(
            400,
            f"{name!r} has {len(value):,} characters; at most {LONGEST_NAME} are read.",
        )
    if "among" in limits and value not in limits["among"]:
        names = ", ".join(map(repr, limits["among"]))
        raise Refusal(400, f"{name!r} is {value!r}; it must be one of {names}.")
    if "most" in limits and not limits["least"] <= value <= limits["most"]:
        raise Refusal(
            400,
            f"{name!r} must be a whole number from {limits['least']} to "
            f"{limits['most']}; another came.",
        )


_NAMES: dict[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
_WANTED = _NAMES | {int: "a whole number"}
