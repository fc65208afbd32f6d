"""A prompt that a model goes on from, and what each token that it writes drew on."""

from __future__ import annotations

from threading import Event
from typing import Any

from torch import nn

from .. import render
from ..engine.ruleset import RuleSet
from ..errors import UnsupportedModelError
from ..generation import explain_generation
from ..generation.model import check_model
from ..generation.record import record
from ..generation.tokens import read_prompt
from ..render.document import styled
from ..support.plain_json import to_json
from ..texts.encoding import position_limit
from .lengths import Limit
from .question import PromptQuestion
from .refusal import Refusal
from .work import Answer, Asked, notes, stopped_backward, working

__all__ = ["Generating"]

# Each token that is written takes a backward pass, and a rule of the page's style.
MOST_TOKENS = 512


class Generating:
    """Explains what a model writes: fragments of HTML, and a file to keep."""

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        """Look at the model, once.

        Args:
            model: A Hugging Face model in eval mode.
            tokenizer: Its tokenizer.
        """
        self._model, self._tokenizer = model, tokenizer
        self._cannot = _cannot(model)
        longest = min(position_limit(model) or MOST_TOKENS, MOST_TOKENS)
        what, advice = "prompt and what follows it have", "Take fewer."
        self._limit = Limit(longest, what, "the explorer", advice)

    def about(self) -> Answer:
        """Describe what may be asked.

        Returns:
            As ``generate`` whether the tokenizer has a ``chat`` template, how many
            tokens are read, and as ``cannot`` a sentence where the model writes none.
        """
        chat = bool(getattr(self._tokenizer, "chat_template", None))
        told = {"cannot": self._cannot, "chat": chat, "longest": self._limit.most}
        return {"generate": told}

    def asked(self) -> dict[str, Asked]:
        """List what may be asked.

        Returns:
            By path.
        """
        return {"/generate": Asked(PromptQuestion, self.generate)}

    def generate(self, question: PromptQuestion, abandoned: Event) -> Answer:
        """Find what each token that follows a prompt drew on.

        Args:
            question: What is asked.
            abandoned: Stops the work once it is set.

        Returns:
            The fragment of `GenerationExplanation.to_html`, as ``html``; ``notes``, a
            fragment of all warnings, empty without any; and ``json``, as ``lrp-hooks
            generate --json`` has it.

        Raises:
            Refusal: If the model writes nothing, or too much is asked.
        """
        if self._cannot is not None:
            raise Refusal(422, self._cannot)
        if not question.prompt.strip():
            raise Refusal(422, "the prompt is blank. Type what the model goes on from.")
        RuleSet.named(question.rules)
        given = question.continuation or None
        more = question.max_new_tokens if given is None else 0
        self._limit.check_text(question.prompt + (given or ""), more)
        with (
            working(self._model, abandoned) as warned,
            stopped_backward(self._model, abandoned),
        ):
            known = read_prompt(self._tokenizer, question.prompt, question.chat)
            self._limit.check_tokens(len(known.ids) + more)
            found = explain_generation(
                *(self._model, self._tokenizer, question.prompt),
                max_new_tokens=more or None,
                continuation=given,
                contrast=question.contrast or None,
                chat=question.chat,
                rules=question.rules,
            )
        shown = found.words() if question.words else found
        return {
            "html": render.fragment(shown.view()),
            "notes": styled(notes(warned)) if warned else "",
            "json": to_json(record(shown)).decode(),
        }


def _cannot(model: nn.Module) -> str | None:
    """Say why a model writes nothing to explain, if it does not."""
    try:
        check_model(model)
    except UnsupportedModelError:
        return (
            f"{type(model).__name__} is no language model that writes, so there is "
            "nothing to go on with. Start lrp-hooks serve --model DIR with the folder "
            "of one."
        )
    if getattr(model, "main_input_name", "input_ids") != "input_ids":
        return (
            f"{type(model).__name__} reads no texts. In Python, explain_generation "
            "takes its features."
        )
    return None
