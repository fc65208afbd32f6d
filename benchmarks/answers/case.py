"""One prompt of one model, with what the methods are compared with."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrp_hooks.answers.ablation import Ablating
from lrp_hooks.answers.passages import answer_spans, members, prompt_sources
from lrp_hooks.answers.reading import read_answer
from lrp_hooks.generation.tokens import read_prompt

from .data import Item

__all__ = ["Case"]


class Case:
    """A prompt, its answer, and what becomes of the answer without sources."""

    def __init__(self, model: nn.Module, tokenizer: Any, item: Item) -> None:
        """Read a prompt.

        Args:
            model: A plain language model.
            tokenizer: Its tokenizer.
            item: The prompt.
        """
        self.model, self.tokenizer, self.item = model, tokenizer, item
        self.given = read_prompt(tokenizer, item.prompt, False)
        self.reading = read_answer(tokenizer, self.given, item.answer)
        self.passages = prompt_sources(self.reading, item.sources, [])
        self.inside = answer_spans(self.reading, [item.word])[1]
        self._lost: dict[int, float] = {}

    @property
    def asked(self) -> tuple[Any, ...]:
        """The arguments of `explain_answer`."""
        return self.model, self.tokenizer, self.item.prompt, self.item.answer

    @property
    def named(self) -> dict[str, Any]:
        """Its named arguments."""
        return {"sources": self.item.sources, "spans": [self.item.word]}

    @property
    def ids(self) -> Tensor:
        """All token ids, [1, N]."""
        return torch.tensor([self.reading.ids])

    @property
    def first_of_span(self) -> int:
        """The position of the first token of the word."""
        return self.reading.start + int(self.inside[0].nonzero()[0])

    @property
    def is_right(self) -> bool:
        """Whether the word is what the model would say."""
        with torch.no_grad():
            said = self.model(self.ids[:, :-1]).logits[0].argmax(1)
        own = self.inside[0].nonzero()[:, 0] + self.reading.start
        return bool((said[own - 1] == self.ids[0, own]).all())

    @cached_property
    def ablating(self) -> Ablating:
        """The prompt with sources left out."""
        return Ablating(
            *(self.model, self.tokenizer, self.given, self.reading, self.passages),
            *(self.inside, "log_probability"),
        )

    @cached_property
    def whole(self) -> float:
        """The log-probability with all sources."""
        kept = np.ones((1, len(self.passages)), dtype=bool)
        return float(self.ablating.outputs(kept)[0, 0])

    def by_source(self, values: Tensor) -> Tensor:
        """Sum values of tokens, [T], by source, [S]."""
        places = self.reading.places[: self.reading.start]
        owner = members(self.reading.prompt, places, self.passages)
        sums = values.new_zeros(len(self.passages) + 1)
        sums.index_add_(0, owner % len(sums), values[: len(owner)])
        return sums[:-1]

    def halves(self, count: int, seed: int) -> tuple[Any, Tensor]:
        """Leave out random halves of the sources.

        Args:
            count: How many.
            seed: Of the draw.

        Returns:
            Which sources stayed, boolean [count, S], and log-probabilities, [count].
        """
        draw, total = np.random.default_rng(seed), len(self.passages)
        kept = np.zeros((count, total), dtype=bool)
        for row in kept:
            row[draw.choice(total, total // 2, replace=False)] = True
        return kept, self.ablating.outputs(kept)[:, 0]

    def without(self, source: int) -> float:
        """Return what the log-probability loses without a source."""
        if source not in self._lost:
            kept = np.ones((1, len(self.passages)), dtype=bool)
            kept[0, source] = False
            self._lost[source] = self.whole - float(self.ablating.outputs(kept)[0, 0])
        return self._lost[source]
