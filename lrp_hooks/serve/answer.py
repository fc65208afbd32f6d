"""A question asked of passages, and what the model's answer drew on."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from threading import Event
from typing import Any

from torch import nn

from .. import render
from ..answers import AnswerExplanation, check_decodes, explain_answer
from ..answers.record import record
from ..errors import UnsupportedModelError
from ..generation.tokens import forced, read_prompt
from ..render.document import styled
from ..support.plain_json import to_json
from ..texts.encoding import position_limit
from ..texts.sentences import paragraphs
from .lengths import Limit
from .question import PassagesQuestion
from .refusal import Refusal
from .work import Answer, Asked, notes, stopped_backward, working

__all__ = ["Answering"]

# A retrieval prompt fits, and so do all attention maps of it into a small machine.
MOST_TOKENS = 2048


class Answering:
    """Explains answers: fragments of HTML, and files to keep."""

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        """Look at the model, once.

        Args:
            model: A Hugging Face model in eval mode.
            tokenizer: Its tokenizer.
        """
        self._model, self._tokenizer = model, tokenizer
        self._longest = min(position_limit(model) or MOST_TOKENS, MOST_TOKENS)
        self._cannot = _cannot(model)

    def about(self) -> Answer:
        """Describe what may be asked.

        Returns:
            As ``answer`` whether the tokenizer has a ``chat`` template, how many tokens
            are read, and as ``cannot`` a sentence where the model gives no answers.
        """
        chat = bool(getattr(self._tokenizer, "chat_template", None))
        return {
            "answer": {"cannot": self._cannot, "chat": chat, "longest": self._longest}
        }

    def asked(self) -> dict[str, Asked]:
        """List what may be asked.

        Returns:
            By path.
        """
        return {"/answer": Asked(PassagesQuestion, self.answer)}

    def answer(self, question: PassagesQuestion, abandoned: Event) -> Answer:
        """Find what an answer drew on.

        Args:
            question: What is asked.
            abandoned: Stops the work once it is set.

        Returns:
            The fragment of `AnswerExplanation.to_html`, as ``html``; ``notes``, a
            fragment of all warnings, empty without any; and the contents of files:
            ``json``, as ``lrp-hooks answer --json`` has it, and ``csv``, a row a score.

        Raises:
            Refusal: If the model gives no answers, or too much is asked.
        """
        if self._cannot is not None:
            raise Refusal(422, self._cannot)
        passages = [passage.text for passage in paragraphs(question.passages)]
        prompt, answer = _prompt(question, passages), _given(question)
        cut = question.sources
        with (
            working(self._model, abandoned) as warned,
            stopped_backward(self._model, abandoned),
        ):
            self._check(question, prompt, answer)
            found = explain_answer(
                *(self._model, self._tokenizer, prompt, answer),
                max_new_tokens=question.max_new_tokens if answer is None else None,
                sources=passages if cut == "passages" else cut,
                spans=question.spans,
                hops=question.hops,
                chat=question.chat,
                method=question.method,
                wrt=question.wrt,
                calls=question.calls,
            )
        return {
            "html": render.fragment(found.view()),
            "notes": styled(notes(warned)) if warned else "",
            "json": to_json(record(found)).decode(),
            "csv": _table(found),
        }

    def _check(
        self, question: PassagesQuestion, prompt: str, answer: str | None
    ) -> None:
        """Refuse what has too many tokens, those that the model may write included."""
        more = question.max_new_tokens if answer is None else 0
        new = f" (of up to {more} tokens)" if more else ""
        what = f"passages, question and answer{new} have"
        advice = "Take fewer or shorter ones."
        limit = Limit(self._longest, what, "the explorer", advice)
        limit.check_text(prompt + (answer or ""), more)
        given = read_prompt(self._tokenizer, prompt, question.chat)
        known = given if answer is None else forced(self._tokenizer, given, answer)
        limit.check_tokens(len(known.ids) + more)


def _cannot(model: nn.Module) -> str | None:
    """Say why a model has no answers to explain, if it has none."""
    try:
        check_decodes(model)
    except UnsupportedModelError:
        return (
            f"{type(model).__name__} is no causal language model, so it does not go on "
            "writing where a question ends. For answers, start lrp-hooks serve --model "
            "DIR with the folder of one."
        )
    return None


def _prompt(question: PassagesQuestion, passages: Sequence[str]) -> str:
    """Put the question behind its passages; refuse a blank one, or none."""
    asked = question.question.strip()
    if not passages:
        raise Refusal(422, "there is no passage. Paste what the answer may draw on.")
    if not asked:
        raise Refusal(422, "the question is blank. Ask something of the passages.")
    return "\n\n".join([*passages, asked])


def _given(question: PassagesQuestion) -> str | None:
    """Return the answer that is given, apart from the question; a template does so."""
    answer = question.answer
    if not answer.strip():
        return None
    apart = question.chat or answer[0].isspace()
    return answer if apart else f" {answer}"


def _table(found: AnswerExplanation) -> str:
    """Write every score with its span and its source as a row."""
    rows, text = found.rows(), io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
