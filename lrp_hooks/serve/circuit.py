"""A text's circuit: through which neurons and heads it makes the output."""

from __future__ import annotations

from threading import Event
from typing import Any

from torch import nn

from .. import render
from ..circuits import find_circuit
from ..engine.ruleset import RuleSet
from ..render.document import styled
from ..support.plain_json import to_json
from ..texts.encoding import encode, position_limit
from .lengths import Limit
from .question import CircuitQuestion
from .targets import Targets
from .work import Answer, Asked, notes, stopped_backward, working

__all__ = ["Tracing"]

# The page has a node for each token, and must stay readable.
MOST_TOKENS = 128
KINDS = {"neurons": ("neurons",), "heads": ("heads",), "both": ("neurons", "heads")}


class Tracing:
    """Finds circuits: fragments of HTML, and files to keep."""

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        """Look at the model, once.

        Args:
            model: A Hugging Face model in eval mode.
            tokenizer: Its tokenizer.
        """
        self._model, self._tokenizer = model, tokenizer
        self._targets = Targets(model, tokenizer)
        longest = min(position_limit(model) or MOST_TOKENS, MOST_TOKENS)
        self._limit = Limit(longest, "the text has", "the explorer", "Shorten it.")

    def about(self) -> Answer:
        """Describe what may be asked.

        Returns:
            How many tokens are read.
        """
        return {"circuit": {"longest": self._limit.most}}

    def asked(self) -> dict[str, Asked]:
        """List what may be asked.

        Returns:
            By path.
        """
        return {"/circuit": Asked(CircuitQuestion, self.circuit)}

    def circuit(self, question: CircuitQuestion, abandoned: Event) -> Answer:
        """Find a circuit.

        Args:
            question: What is asked.
            abandoned: Stops the work once it is set.

        Returns:
            The fragment of `Circuit.to_html`, as ``html``; ``notes``, a fragment of all
            warnings, empty without any; and ``json``, what `Circuit.to_json` writes.
        """
        RuleSet.named(question.rules)
        self._limit.check_text(question.text)
        with (
            working(self._model, abandoned) as warned,
            stopped_backward(self._model, abandoned),
        ):
            encoded = encode(self._model, self._tokenizer, [question.text])
            self._limit.check_tokens(len(encoded.tokens[0]))
            found = find_circuit(
                self._model,
                question.text,
                self._targets.read(question.target, encoded.batch),
                tokenizer=self._tokenizer,
                nodes=KINDS[question.nodes],
                max_nodes=question.max_nodes,
                rules=question.rules,
            )
        return {
            "html": render.fragment(found.view()),
            "notes": styled(notes(warned)) if warned else "",
            "json": to_json(found.attribution_graph()).decode(),
        }
