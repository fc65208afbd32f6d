"""From a question to its answer: numbers and fragments of HTML, no web framework."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from threading import Event
from typing import Any, TypeVar

from torch import nn

from .. import explainers, render
from ..attribution.layer_flow import layer_flow
from ..engine.ruleset import RuleSet
from ..errors import LrpHooksWarning
from ..explainers.compare import compare
from ..explainers.explain import explain
from ..explainers.lrp import LRP
from ..render.document import document, isolated, styled
from ..results.explanation import Explanation
from ..results.layer_flow import LayerFlow
from ..results.relevance import Relevance
from ..support.text import escape
from ..texts.encoding import Encoded, encode, position_limit
from ..texts.prediction import Prediction
from .question import Question
from .refusal import Refusal
from .targets import Targets

__all__ = ["AbandonedError", "Answer", "Explorer"]

DEFAULT_RULES = inspect.signature(LRP).parameters["rules"].default
MOST_TOKENS = 512
# Methods whose cost grows too steeply for that, and cannot be stopped half-way.
MOST_TOKENS_OF = {"attention_flow": 48}
MOST_CHARACTERS = 50  # for each token, which no written language comes near

Answer = dict[str, Any]
Tokens = TypeVar("Tokens", Explanation, LayerFlow)


class AbandonedError(Exception):
    """The work was stopped, since nobody waits for it any more."""


class Explorer:
    """Answers questions about one model, each with what a page shows."""

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        """Look at the model, once.

        Args:
            model: A Hugging Face model in eval mode.
            tokenizer: Its tokenizer.
        """
        self._model, self._tokenizer = model, tokenizer
        self._targets = Targets(model, tokenizer)
        self._longest = min(position_limit(model) or MOST_TOKENS, MOST_TOKENS)

    def about(self) -> Answer:
        """Describe the model and what may be asked of it.

        Returns:
            Names for the page's controls, and the ``frame`` of a page to keep: what
            stands before and after its fragments.
        """
        return {
            "model": type(self._model).__name__,
            "labels": self._targets.labels,
            "speaks": self._targets.speaks,
            "mask": self._targets.mask,
            "methods": explainers.names(),
            "rules": RuleSet.names(),
            "default_rules": DEFAULT_RULES,
            "longest": self._longest,
            "frame": document("\0").split("\0"),
        }

    def explain(self, question: Question, abandoned: Event) -> Answer:
        """Explain a text by one method.

        Args:
            question: What is asked.
            abandoned: Stops the work once it is set.

        Returns:
            Fragments: the ``text``, the ``prediction`` with all warnings, and the
            ``html`` of heat map and ledger; and how many ``tokens`` these show.
        """
        with self._working(abandoned), _recorded() as warned:
            encoded, target = self._read(question)
            prediction = self._targets.predict(encoded.batch)
            explanation = explain(
                self._model,
                question.text,
                question.method,
                self._tokenizer,
                target,
                **_options(question),
            )
            shown = _merged(explanation, question)
        return {
            "text": _text(question.text),
            "prediction": _prediction(prediction, warned),
            "html": render.fragment(shown.view()),
            "tokens": len(shown.tokens[0]) if shown.tokens else 0,
        }

    def compare(self, question: Question, abandoned: Event) -> Answer:
        """Explain a text by the methods of `compare`, and by the one that is chosen.

        Args:
            question: What is asked.
            abandoned: Stops the work once it is set.

        Returns:
            The fragment, as ``html``.
        """
        plain = _options(question).get("rules", DEFAULT_RULES) == DEFAULT_RULES
        own = question.method if plain else f"{question.method} ({question.rules})"
        methods: dict[str, dict[str, Any]] = {name: {} for name in explainers.COMPARED}
        methods[own] = {"method": question.method, **_options(question)}
        with self._working(abandoned), _recorded():
            _, target = self._read(question)
            found = compare(
                self._model, question.text, methods, self._tokenizer, target
            )
            merged = {
                label: _merged(each, question)
                for label, each in found.explanations.items()
            }
        return {"html": render.fragment(replace(found, explanations=merged).view())}

    def layers(self, question: Question, abandoned: Event) -> Answer:
        """Follow the relevance of a text through the blocks of the model, by LRP.

        Args:
            question: What is asked; whatever its method, layers are explained by LRP.
            abandoned: Stops the work once it is set.

        Returns:
            Names of the ``layers``, from the input on; ``scores`` ``[L + 1, T]``; and
            the picture of all of them, as ``html``.
        """
        with self._working(abandoned), _recorded():
            _, target = self._read(question)
            found = explain(
                self._model,
                question.text,
                "lrp",
                self._tokenizer,
                target,
                layers="blocks",
                **_options(question),
            )
            assert isinstance(found, Relevance)
            flow = _merged(layer_flow(found), question)
        return {
            "layers": flow.layers,
            "scores": flow.scores[0].tolist(),
            "html": render.fragment(flow.view()),
        }

    def _read(self, question: Question) -> tuple[Encoded, Any]:
        """Return the tokens and the target, once both are known to be good."""
        explainers.named(question.method).check_options(_options(question))
        if question.rules is not None:
            RuleSet.named(question.rules)
        most = min(self._longest, MOST_TOKENS_OF.get(question.method, MOST_TOKENS))
        check = partial(_check_length, most=most, method=question.method)
        # A tokenizer is not troubled with what is too long in any case.
        check(len(question.text.split()), "words")
        check(len(question.text), "characters", each=MOST_CHARACTERS)
        encoded = encode(self._model, self._tokenizer, [question.text])
        check(len(encoded.tokens[0]), "tokens")
        return encoded, self._targets.read(question.target, encoded.batch)

    @contextmanager
    def _working(self, abandoned: Event) -> Generator[None]:
        """Stop at the next call of the model when nobody waits any more."""

        def check(module: nn.Module, args: Any) -> None:
            if abandoned.is_set():
                raise AbandonedError

        handle = self._model.register_forward_pre_hook(check)
        try:
            yield
        finally:
            handle.remove()


def _options(question: Question) -> dict[str, Any]:
    return {} if question.rules is None else {"rules": question.rules}


def _merged(found: Tokens, question: Question) -> Tokens:
    return found.words() if question.words else found


def _check_length(
    length: int, unit: str, each: int = 1, *, most: int, method: str
) -> None:
    """Refuse a text that is longer than ``most`` tokens of ``each`` units.

    Raises:
        Refusal: If it is.
    """
    if length > most * each:
        raise Refusal(
            413,
            f"the text has {length:,} {unit}; {method} explains at most {most} tokens "
            "(words or parts of words) at once. Shorten it, or explain it piece by "
            "piece.",
        )


@contextmanager
def _recorded() -> Generator[list[str]]:
    """Collect what the library warns of.

    Yields:
        The messages, complete at the end.
    """
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield messages
    kept = [str(w.message) for w in caught if issubclass(w.category, LrpHooksWarning)]
    messages += dict.fromkeys(kept)


def _text(text: str) -> str:
    """Return a text as it was typed."""
    shown = "<br>".join(map(escape, text.splitlines()))
    return styled(
        f'<p class="soft">text</p><p class="text"><span class="t" dir="auto">{shown}'
        "</span></p>"
    )


def _prediction(prediction: Prediction | None, warned: list[str]) -> str:
    """Return what the model says, and what the explanation does not cover."""
    said = ""
    if prediction is not None:
        label = isolated(prediction.label)
        said = (
            f'<p><span class="soft">prediction</span> {label} '
            f'<span class="soft">probability</span> {prediction.probability:.4f}</p>'
        )
    notes = "".join(f'<p role="note">{escape(message)}</p>' for message in warned)
    return styled(said + notes)
