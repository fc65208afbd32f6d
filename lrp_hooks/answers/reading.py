"""A prompt and its answer as the model reads them, and where each token stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import TextError
from ..generation.tokens import Prompt, Text, forced
from ..texts.encoding import read_tokens
from ..texts.spans import pieces, vocabulary_mark

__all__ = ["Reading", "read_answer", "read_ids", "read_written"]

Place = tuple[int, int]
"""Where a token begins and ends, in characters."""


@dataclass(frozen=True)
class Reading:
    """What is explained: a text of a prompt and an answer.

    Attributes:
        prompt: The prompt as the model reads it, a chat's template filled in.
        answer: The answer.
        ids: The ids of all N tokens, the prompt's first.
        tokens: Their names.
        special: Which of them are special.
        start: How many are the prompt's.
        places: Where each token stands: those before ``start`` in the prompt, the
            others in the answer.
    """

    prompt: str
    answer: str
    ids: list[int]
    tokens: list[str]
    special: list[bool]
    start: int
    places: list[Place]

    @property
    def count(self) -> int:
        """How many tokens the answer has."""
        return len(self.ids) - self.start


def read_answer(tokenizer: Any, prompt: Prompt, answer: str | Sequence[int]) -> Reading:
    """Read an answer that is given.

    Args:
        tokenizer: The model's tokenizer.
        prompt: The prompt.
        answer: A text, which is tokenised together with the prompt, or token ids.

    Returns:
        Both.

    Raises:
        TextError: If the answer is blank, or its first token holds some of the prompt.
    """
    if not isinstance(answer, str):
        return read_written(tokenizer, forced(tokenizer, prompt, answer))
    if not answer.strip():
        raise TextError(
            f"answer is blank: {answer!r}. Pass at least one word, or answer=None with "
            "max_new_tokens=, so that the model writes."
        )
    text = forced(tokenizer, prompt, answer)
    if text.merged and _named(tokenizer, prompt.ids)[1][-1]:
        last = _named(tokenizer, prompt.ids)[0][-1]
        raise TextError(
            f"the tokenizer puts {last!r} behind the prompt, which an answer cannot "
            "follow. Switch that off (tokenizer.add_eos_token = False), or pass the "
            "answer as token ids."
        )
    if text.merged:
        seam = prompt.text[-12:] + answer[:12]
        raise TextError(
            f"the tokenizer reads the prompt's end and the answer's beginning "
            f"({seam!r}) as one token, so that no token is the prompt's alone there. "
            "Move the white space between them to the answer's beginning, or pass "
            "token ids."
        )
    places, cut = _places(tokenizer, text.known), len(prompt.text)
    own = [(max(a - cut, 0), max(b - cut, 0)) for a, b in places[text.start :]]
    places = [*places[: text.start], *own]
    return _reading(tokenizer, text, prompt.text, answer, places)


def read_written(tokenizer: Any, text: Text) -> Reading:
    """Read an answer that is known by its token ids.

    Args:
        tokenizer: The model's tokenizer.
        text: The prompt and the ids.

    Returns:
        Both; the answer as the tokenizer spells it.
    """
    spelled, ends = _spelled(tokenizer, text.generated)
    begins = [0, *ends[:-1]]
    own = zip(begins, ends, strict=True)
    places = [*_places(tokenizer, text.known), *own]
    return _reading(tokenizer, text, text.known.text, spelled, places)


def read_ids(tokenizer: Any, prompt: list[int], answer: list[int]) -> Reading:
    """Read a prompt and an answer that are known by their token ids alone.

    Args:
        tokenizer: The model's tokenizer.
        prompt: The prompt's ids; special ones, such as those for a picture, stand for
            no text.
        answer: The answer's.

    Returns:
        Both, as the tokenizer spells them.
    """
    texts, places = [], []
    for ids, special in ((prompt, True), (answer, False)):
        spelled, ends = _spelled(tokenizer, ids, special)
        texts.append(spelled)
        places += list(zip([0, *ends[:-1]], ends, strict=True))
    names, flags = _named(tokenizer, [*prompt, *answer])
    every = [*prompt, *answer]
    return Reading(texts[0], texts[1], every, names, flags, len(prompt), places)


def _reading(
    tokenizer: Any, text: Text, prompt: str, answer: str, places: list[Place]
) -> Reading:
    names, special = _named(tokenizer, text.ids)
    return Reading(prompt, answer, text.ids, names, special, text.start, places)


def _named(tokenizer: Any, ids: list[int]) -> tuple[list[str], list[bool]]:
    encoded = read_tokens(tokenizer, torch.tensor([ids]))
    assert encoded is not None
    return encoded.tokens[0], encoded.special[0]


def _places(tokenizer: Any, known: Prompt) -> list[Place]:
    """Return where the tokens of a text stand in it."""
    names, special = _named(tokenizer, known.ids)
    mark = vocabulary_mark(tokenizer)
    found, at = [], 0
    for piece in pieces(known.encoding, [known.text], names, special, mark):
        begin = known.text.find(piece, at)  # a tokenizer may drop words between
        if piece and begin >= 0:
            at = begin + len(piece)
            found.append((begin, at))
        else:
            found.append((at, at))
    return found


def _spelled(
    tokenizer: Any, ids: Sequence[int], plain: bool = False
) -> tuple[str, list[int]]:
    """Spell token ids, and tell where each ends: a letter may take several."""
    how = {"clean_up_tokenization_spaces": False, "skip_special_tokens": plain}
    whole: str = tokenizer.decode(ids, **how)
    ends, last = [], 0
    for count in range(1, len(ids) + 1):
        so_far = tokenizer.decode(ids[:count], **how)
        end = len(so_far.rstrip("\N{REPLACEMENT CHARACTER}"))
        last = min(max(last, end), len(whole))
        ends.append(last)
    if ends:
        ends[-1] = len(whole)
    return whole, ends
