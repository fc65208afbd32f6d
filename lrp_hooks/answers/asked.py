"""What was asked and answered: a prompt, with an answer that is given or written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from ..attribution.instrument import instrument
from ..engine.ruleset import RuleSet
from ..errors import ArgumentError, TextError
from ..generation.beside import has_more_than_text, processed
from ..generation.model import check_ids, check_length, greedy, vocabulary
from ..generation.tokens import Prompt, Text, as_ids, read_prompt
from ..texts.devices import device_of
from .beside import Beside, read_beside
from .passages import bodies
from .reading import Reading, read_answer, read_written

__all__ = ["Asked", "Asker"]


@dataclass(frozen=True, eq=False)
class Asked:
    """A prompt and its answer.

    Attributes:
        reading: Both, as the model reads them.
        written: Where the prompt has what somebody wrote, and no chat's template:
            beginnings and ends, in characters.
        given: The prompt, where it is text alone.
        beside: What the model is called with, where there is more than text.
    """

    reading: Reading
    written: list[tuple[int, int]]
    given: Prompt | None = None
    beside: Beside | None = None


@dataclass(frozen=True, eq=False)
class Asker:
    """Reads prompts for one model.

    Attributes:
        model: A decoder.
        tokenizer: Its tokenizer.
        processor: Makes inputs of texts with pictures or sounds; None if there is none.
        rules: See `explain_answer`.
        max_new_tokens: How many tokens the model writes where no answer is given.
    """

    model: nn.Module
    tokenizer: Any
    processor: Any
    rules: str | RuleSet
    max_new_tokens: int | None

    def read(self, prompt: Any, answer: Any, chat: bool, method: str) -> Asked:
        """Read a prompt and its answer, or let the model write that.

        Args:
            prompt: See `explain_answer`.
            answer: See `explain_answer`.
            chat: See `explain_answer`.
            method: See `explain_answer`.

        Returns:
            Both. Refused are an answer of special tokens alone, and methods that leave
            words out where there is more than words.
        """
        if has_more_than_text(prompt):
            _check_relevance(method)
            made = processed(self.processor, prompt, self.model)
            how = (answer, self.max_new_tokens, self.rules)
            reading, beside = read_beside(self.model, self.tokenizer, made, *how)
            asked = Asked(reading, [(0, len(reading.prompt))], beside=beside)
        else:
            given = read_prompt(self.tokenizer, prompt, chat)
            reading = self._answered(given, answer)
            asked = Asked(reading, bodies(self.tokenizer, given, prompt), given)
        if answer is None:
            _check_written(asked.reading)
        return asked

    def _answered(self, given: Prompt, answer: Any) -> Reading:
        """Read the answer to a text, or let the model write it."""
        check_ids(given.ids, vocabulary(self.model))
        if answer is None:
            return self._written(given)
        if not isinstance(answer, str) and len(answer) == 0:
            raise TextError(
                "answer has no token id in it. Pass at least one, or answer=None with "
                "max_new_tokens=, so that the model writes."
            )
        reading = read_answer(self.tokenizer, given, answer)
        check_ids(reading.ids, vocabulary(self.model))
        check_length(self.model, reading.start, reading.count)
        return reading

    def _written(self, given: Prompt) -> Reading:
        assert self.max_new_tokens is not None
        check_length(self.model, len(given.ids), self.max_new_tokens)
        with instrument(self.model, self.rules):
            pass  # what cannot be explained is refused before the model writes
        ids = as_ids(given.ids, device_of(self.model))
        written = greedy(self.model, ids, self.max_new_tokens)
        text = Text(given, [*given.ids, *written], len(given.ids))
        return read_written(self.tokenizer, text)


def _check_written(reading: Reading) -> None:
    """Refuse what a model wrote that says nothing."""
    if all(reading.special[reading.start :]):
        raise TextError(
            f"the model wrote nothing but {reading.answer!r}, which is no answer. Pass "
            "chat=True if it answers chats, end the prompt where an answer begins, or "
            "pass answer=..., what it is taken to have said."
        )


def _check_relevance(method: str) -> None:
    """Refuse methods that leave words out, where there is more than words."""
    if method != "lrp":
        raise ArgumentError(
            f"method={method!r} leaves sources out of a text, and the prompt has a "
            "picture or a sound beside it. Take method='lrp'."
        )
