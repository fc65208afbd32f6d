"""A text explained token by token: what a model says of it, or says next."""

from __future__ import annotations

import inspect
from dataclasses import replace
from threading import Event
from typing import Any, TypeVar

from torch import nn

from .. import explainers, render
from ..attribution.layer_flow import layer_flow
from ..engine.ruleset import RuleSet
from ..explainers.compare import compare
from ..explainers.explain import explain
from ..explainers.lrp import LRP
from ..render.document import isolated, styled
from ..results.explanation import Explanation
from ..results.layer_flow import LayerFlow
from ..results.relevance import Relevance
from ..support.text import escape
from ..texts.encoding import Encoded, encode, position_limit
from ..texts.prediction import Prediction
from .lengths import Limit
from .question import TextQuestion
from .targets import Targets
from .work import Answer, Asked, notes, working

__all__ = ["Classify"]

DEFAULT_RULES = inspect.signature(LRP).parameters["rules"].default
MOST_TOKENS = 512
# Methods whose cost grows too steeply for that, and cannot be stopped half-way.
MOST_TOKENS_OF = {"attention_flow": 48}
Tokens = TypeVar("Tokens", Explanation, LayerFlow)


class Classify:
    """Explains texts: numbers and fragments of HTML, no web framework."""

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
        """Describe what may be asked.

        Returns:
            Names for the page's controls; and as ``instead`` a sentence where the model
            has no labels, but tokens.
        """
        return {
            "labels": self._targets.labels,
            "speaks": self._targets.speaks,
            "mask": self._targets.mask,
            "instead": self._instead(),
            "methods": explainers.names(),
            "rules": RuleSet.names(),
            "default_rules": DEFAULT_RULES,
            "longest": self._longest,
        }

    def asked(self) -> dict[str, Asked]:
        """List what may be asked.

        Returns:
            By path.
        """
        return {
            "/explain": Asked(TextQuestion, self.explain),
            "/compare": Asked(TextQuestion, self.compare),
            "/layers": Asked(TextQuestion, self.layers),
        }

    def explain(self, question: TextQuestion, abandoned: Event) -> Answer:
        """Explain a text by one method.

        Args:
            question: What is asked.
            abandoned: Stops the work once it is set.

        Returns:
            Fragments: the ``text``, the ``prediction`` with all warnings, and the
            ``html`` of heat map and ledger; and how many ``tokens`` these show.
        """
        with working(self._model, abandoned) as warned:
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

    def compare(self, question: TextQuestion, abandoned: Event) -> Answer:
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
        with working(self._model, abandoned):
            _, target = self._read(question)
            found = compare(
                self._model, question.text, methods, self._tokenizer, target
            )
            merged = {
                label: _merged(each, question)
                for label, each in found.explanations.items()
            }
        return {"html": render.fragment(replace(found, explanations=merged).view())}

    def layers(self, question: TextQuestion, abandoned: Event) -> Answer:
        """Follow the relevance of a text through the blocks of the model, by LRP.

        Args:
            question: What is asked; whatever its method, layers are explained by LRP.
            abandoned: Stops the work once it is set.

        Returns:
            Names of the ``layers``, from the input on; ``scores`` ``[L + 1, T]``; and
            the picture of all of them, as ``html``.
        """
        with working(self._model, abandoned):
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

    def _read(self, question: TextQuestion) -> tuple[Encoded, Any]:
        """Return the tokens and the target, once both are known to be good."""
        explainers.named(question.method).check_options(_options(question))
        if question.rules is not None:
            RuleSet.named(question.rules)
        most = min(self._longest, MOST_TOKENS_OF.get(question.method, MOST_TOKENS))
        advice = "Shorten it, or explain it piece by piece."
        limit = Limit(most, "the text has", question.method, advice)
        limit.check_text(question.text)
        encoded = encode(self._model, self._tokenizer, [question.text])
        limit.check_tokens(len(encoded.tokens[0]))
        return encoded, self._targets.read(question.target, encoded.batch)

    def _instead(self) -> str | None:
        """Say what is explained where there is no label to explain."""
        if not self._targets.speaks:
            return None
        mask = self._targets.mask
        token = "next token" if mask is None else f"token that it guesses for {mask}"
        name = type(self._model).__name__
        return f"{name} has no labels; what is explained here is the {token}."


def _options(question: TextQuestion) -> dict[str, Any]:
    return {} if question.rules is None else {"rules": question.rules}


def _merged(found: Tokens, question: TextQuestion) -> Tokens:
    return found.words() if question.words else found


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
    return styled(said + notes(warned))
