"""The sources of a prompt and the spans of an answer: which, and of which tokens."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError, TextError
from ..generation.tokens import Prompt, as_messages, fill_template
from ..support.passages import Passage
from ..texts.sentences import paragraphs, sentences, words
from .reading import Place, Reading

__all__ = ["answer_spans", "bodies", "members", "prompt_sources"]

CUTS: dict[str, Callable[[str], list[Passage]]] = {
    "sentences": sentences,
    "paragraphs": paragraphs,
    "words": words,
}
OF_PROMPT = (*CUTS, "tokens")
OF_ANSWER = ("sentences", "all", "tokens")
_QUOTED = 80  # characters of a passage in a message


def bodies(tokenizer: Any, given: Prompt, messages: Any) -> list[Place]:
    """Find what of a prompt people have written: all, but for a chat's template.

    Args:
        tokenizer: The model's tokenizer.
        given: The prompt as the model reads it.
        messages: The prompt as it came, a text or messages.

    Returns:
        Where it stands.
    """
    if given.special:  # no template
        return [(0, len(given.text))]
    turns = as_messages(messages)
    marks = [f"\ue000{n}\ue001" for n in range(len(turns))]
    named = [{**t, "content": mark} for t, mark in zip(turns, marks, strict=True)]
    between = re.split("|".join(marks), fill_template(tokenizer, named))
    for written in (str, str.strip):  # some templates trim what they are given
        contents = [written(turn["content"]) for turn in turns]
        found, text = [], between[0]
        for content, behind in zip(contents, between[1:], strict=False):
            found.append((len(text), len(text) + len(content)))
            text += content + behind
        if text == given.text:
            return found
    return [(0, len(given.text))]  # the template rewrites what it is given


def prompt_sources(
    reading: Reading, sources: str | Sequence[str], written: Sequence[Place]
) -> list[Passage]:
    """Find the parts of a prompt that an answer may draw on.

    Args:
        reading: The prompt and its answer.
        written: What of the prompt is cut, see `bodies`.
        sources: ``"sentences"``, ``"paragraphs"``, ``"words"``, ``"tokens"``, or
            texts that stand in the prompt, in their order.

    Returns:
        Where they stand; a text that does not is refused.
    """
    if not isinstance(sources, str):
        return _given("sources", sources, reading.prompt, "prompt")
    _check_unit("sources", sources, OF_PROMPT, "the texts of passages")
    if sources == "tokens":
        places = reading.places[: reading.start]
        inside = [p for p in places if any(a <= p[0] < b for a, b in written)]
        return _each_token(reading.prompt, inside)
    return [
        Passage(part, a + start, a + end)
        for a, b in written
        for part, start, end in CUTS[sources](reading.prompt[a:b])
    ]


def answer_spans(
    reading: Reading, spans: str | Sequence[str]
) -> tuple[list[Passage], Tensor]:
    """Find the parts of an answer that are explained.

    Args:
        reading: The prompt and its answer.
        spans: ``"sentences"``, ``"all"``, ``"tokens"``, a text in the answer, or texts.

    Returns:
        Where the A spans stand, and boolean ``[A, G]``: the tokens of each.

    Raises:
        TextError: If a span has no token of its own.
    """
    own, answer = reading.places[reading.start :], reading.answer
    if isinstance(spans, str) and spans == "all":
        whole = Passage(answer, 0, len(answer))
        return [whole], torch.ones(1, len(own), dtype=torch.bool)
    if isinstance(spans, str) and spans == "tokens":
        each = [Passage(answer[a:b], a, b) for a, b in own]
        return each, torch.eye(len(own), dtype=torch.bool)
    if isinstance(spans, str) and spans == "sentences":
        found = _plain_sentences(reading) or [Passage(answer, 0, len(answer))]
    else:
        several = [spans] if isinstance(spans, str) else spans
        _check_spans(several, answer)
        found = _given("spans", several, answer, "answer")
    inside = members(answer, own, found)
    table = inside == torch.arange(len(found))[:, None]
    for span, row in zip(found, table, strict=True):
        if not row.any():
            raise TextError(
                f"spans: no token begins in {_brief(span.text)}, since a token of the "
                "answer reaches over it. Name a longer part of the answer."
            )
    return found, table


def members(text: str, places: Sequence[Place], passages: Sequence[Passage]) -> Tensor:
    """Tell which passage each token is of: where its first letter stands.

    Args:
        text: The text of both.
        places: Where N tokens stand.
        passages: S passages, in their order, none over another.

    Returns:
        ``[N]``, numbers of passages; -1 for a token that is in none.
    """
    found, s = [], 0
    for start, end in places:
        blank = len(text[start:end]) - len(text[start:end].lstrip())
        at = start + (blank if blank < end - start else 0)
        while s < len(passages) and passages[s].end <= at:
            s += 1
        inside = s < len(passages) and passages[s].start <= at < passages[s].end
        found.append(s if inside and start < end else -1)
    return torch.tensor(found, dtype=torch.long)


def _plain_sentences(reading: Reading) -> list[Passage]:
    """Cut an answer, of which special tokens are no part."""
    text = reading.answer
    for n, (start, end) in enumerate(reading.places):
        if n >= reading.start and reading.special[n]:
            text = text[:start] + " " * (end - start) + text[end:]
    return sentences(text)


def _each_token(text: str, places: Sequence[Place]) -> list[Passage]:
    """Return a passage for each token that stands for some of a text."""
    return [Passage(text[a:b], a, b) for a, b in places if a < b]


def _given(argument: str, texts: Any, whole: str, where: str) -> list[Passage]:
    """Find texts, one behind the other."""
    if not isinstance(texts, Sequence) or not all(isinstance(t, str) for t in texts):
        raise ArgumentError(
            f"{argument} is {_brief(repr(texts))}; it must be a unit or a list of "
            f"texts that stand in the {where}."
        )
    if not texts:
        raise TextError(f"{argument} is empty; name at least one text of the {where}.")
    found: list[Passage] = []
    at = 0
    for number, text in enumerate(texts):
        if not text.strip():
            raise TextError(f"{argument}[{number}] is blank: {text!r}.")
        begin = whole.find(text, at)
        if begin < 0:
            raise TextError(_missing(f"{argument}[{number}]", text, whole, where, at))
        at = begin + len(text)
        found.append(Passage(text, begin, at))
    return found


def _missing(name: str, text: str, whole: str, where: str, at: int) -> str:
    """Say why a text was not found."""
    if text in whole[: at + len(text) - 1]:
        return (
            f"{name} stands in the {where}, but begins before the one that is named "
            f"before it has ended: {_brief(text)}. Name texts in the order in which "
            "they stand, none over another."
        )
    parts = [p.text for cut in (sentences, paragraphs) for p in cut(whole)]
    close = difflib.get_close_matches(text, parts, n=1, cutoff=0)
    nearest = f" The closest is {_brief(close[0])}." if close else ""
    return (
        f"{name} does not stand in the {where}: {_brief(text)}.{nearest} Pass texts "
        "as they are written there."
    )


def _check_spans(texts: Any, answer: str) -> None:
    """Point out a unit that an answer is not cut into."""
    unit = texts[0] if len(texts) == 1 else None
    if isinstance(unit, str) and unit in {*OF_PROMPT} and unit not in answer:
        _check_unit("spans", unit, OF_ANSWER, "texts of the answer")


def _check_unit(argument: str, unit: str, allowed: Sequence[str], other: str) -> None:
    if unit not in allowed:
        raise ArgumentError(
            f"{argument}={unit!r} is no unit; it must be one of "
            f"{', '.join(map(repr, allowed))}, or a list: {other}."
        )


def _brief(text: str) -> str:
    shown = " ".join(text.split())
    return repr(shown if len(shown) <= _QUOTED else f"{shown[:_QUOTED]}...")
