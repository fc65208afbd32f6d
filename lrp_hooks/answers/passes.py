"""The relevance of every span: one forward pass, a backward pass a span and a hop.

All tokens of a span start one backward pass together. In a hop, what has reached the
tokens of the answer that stand before the span starts another one: each hands on what
it got, in the proportions of its own relevance, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.instrument import Instrumentation
from ..generation.batched import Noting, gradients_of_each
from ..generation.begun import Read, started
from ..generation.head import Start
from .cache import PromptCache
from .targets import Leads

__all__ = ["SpanRows", "relevance_of_spans"]

WILD = 1e4
"""How much more than a token got it may hand on, in parts that cancel."""


@dataclass(frozen=True, eq=False)
class SpanRows:
    """The relevance of A spans over the N tokens before the last one.

    Attributes:
        scores: ``[A, N]`` in float64, on the CPU like all of these.
        sources: ``{constant: [A]}`` in float64.
        output: ``[A]``.
        meta: How it was done.
        beside: ``{input: [A, P]}`` of what stands beside the text, column by column.
    """

    scores: Tensor
    sources: dict[str, Tensor]
    output: Tensor
    meta: dict[str, Any]
    beside: dict[str, Tensor] = field(default_factory=dict)


def relevance_of_spans(
    model: nn.Module,
    lrp: Instrumentation,
    inputs: Mapping[str, Tensor],
    targets: Tensor,
    spans: Tensor,
    leads: Callable[[Tensor, Tensor], Leads],
    hops: int,
    wrt: Sequence[str] | None = None,
    cache: PromptCache | None = None,
) -> SpanRows:
    """Explain the spans of an answer.

    Args:
        model: The instrumented model.
        lrp: Its instrumentation.
        inputs: What the model is called with: the tokens but the last one, ``[1, N]``,
            without those of a cache, and what stands beside them.
        targets: The answer's tokens, ``[G]``; the first one follows that at N - G.
        spans: Boolean ``[A, G]``: the tokens of each span.
        leads: What is explained of a token, one of `TARGETS`.
        hops: How often relevance of earlier answer tokens is sent on.
        wrt: The inputs that are read, the tokens last; the tokens alone by default.
        cache: What is read of the tokens before these, if not the tokens themselves.

    Returns:
        One row a span.
    """
    made: list[Leads] = []

    def explained(logits: Tensor) -> list[Tensor]:
        dtype = torch.promote_types(logits.dtype, torch.float32)
        made.append(leads(logits.to(dtype), targets))
        return made[-1].parts

    before = 0 if cache is None else cache.count
    length = before + inputs["input_ids"].shape[1]
    with started(model, lrp, inputs, len(targets), explained, wrt) as begun:
        outputs = made[-1].outputs
        wanted = spans * made[-1].weights
        output = (wanted * outputs).sum(1)
        found = _Found(torch.zeros(len(spans), length, dtype=torch.float64))
        if begun.start is not None:
            runs = _Runs(begun.start, begun.reads, begun.collector, outputs, cache)
            for a, row in enumerate(wanted):
                found.enter(a, runs.span(row, spans[a], hops))
            found.meta |= {"kept": runs.kept, "backward_passes": runs.passes}
        else:
            found.sources["constant output"] = output
            found.meta["backward_passes"] = 0
    dtype = begun.values.dtype
    scores, sources = found.scores, found.sources
    return SpanRows(scores, sources, output.to(dtype), found.meta, found.beside)


@dataclass
class _Found:
    """What has been found for each span."""

    scores: Tensor
    sources: dict[str, Tensor] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, Tensor] = field(default_factory=dict)

    def enter(self, a: int, reached: _Reached) -> None:
        """Enter a row."""
        self.scores[a] = reached.tokens
        for name, value in reached.sources.items():
            zero = torch.zeros(len(self.scores), dtype=torch.float64)
            self.sources.setdefault(name, zero)[a] = value
        for name, columns in reached.beside.items():
            zeros = columns.new_zeros(len(self.scores), len(columns))
            self.beside.setdefault(name, zeros)[a] = columns


@dataclass
class _Reached:
    """What reached the tokens, [N], the constants and all else, in float64."""

    tokens: Tensor
    sources: dict[str, float]
    beside: dict[str, Tensor]

    def add(self, other: _Reached) -> None:
        """Take in what a hop brought."""
        self.tokens += other.tokens
        for name, value in other.sources.items():
            self.sources[name] = self.sources.get(name, 0.0) + value
        for name, columns in other.beside.items():
            self.beside[name] += columns


class _Runs:
    """Backward passes through one graph."""

    def __init__(
        self,
        start: Start,
        reads: list[Read],
        collector: Noting,
        outputs: Tensor,
        cache: PromptCache | None,
    ) -> None:
        self.start, self.collector = start, collector
        (*self.others, self.text) = reads
        self.outputs, self.cache = outputs, cache
        self.passes = self.kept = 0

    def span(self, weights: Tensor, inside: Tensor, hops: int) -> _Reached:
        """Explain one span, [G] weights of its tokens."""
        reached = self._reached(weights)
        first = int(inside.nonzero()[0])
        if not first:
            return reached
        begin = len(reached.tokens) + 1 - len(weights)
        earlier = slice(begin, begin + first)
        for _ in range(hops):
            given = self._handed_on(reached.tokens[earlier])
            if not given.any():
                break
            reached.tokens[earlier] -= given * self.outputs[:first]
            sent = torch.zeros_like(weights)
            sent[:first] = given
            reached.add(self._reached(sent))
        return reached

    def _handed_on(self, got: Tensor) -> Tensor:
        """Return the weights of the tokens that hand on what they got."""
        outputs = self.outputs[: len(got)]
        sound = outputs.abs() * WILD > self.outputs.abs().max()
        self.kept += int((~sound & (got != 0)).sum())
        return torch.where(sound, got / outputs, 0.0)

    def _reached(self, weights: Tensor) -> _Reached:
        """Run backward from all tokens at once, each with its weight."""
        start, count = self.start, len(weights)
        factor = start.weights.new_zeros(start.weights.shape[1])
        factor[-count:] = weights.to(factor)
        shape = [1, -1, *[1] * (start.weights.ndim - 2)]
        seed = start.weights * factor.view(shape)
        leaves = [read.leaf for read in (*self.others, self.text)]
        cached = [] if self.cache is None else self.cache.leaves
        grads, noted = gradients_of_each(
            [start.output], [*cached, *leaves], [seed[None]], self.collector
        )
        self.passes += 1
        *others, own = grads[len(cached) :]
        tokens = self.text.relevance(own)[0].double().sum(-1).cpu()
        if self.cache is not None:
            of_prompt = self.cache.relevance([g[0] for g in grads[: len(cached)]])
            tokens = torch.cat([of_prompt, tokens])
        beside = {
            read.name: read.columns(read.relevance(grad).double())[0].cpu()
            for read, grad in zip(self.others, others, strict=True)
        }
        sources = {
            name: float((terms.double().cpu() * weights).sum())
            for name, terms in start.sources.items()
        }
        for name, terms in noted:
            sources[name] = sources.get(name, 0.0) + float(terms.double().sum())
        sources |= {name: float(columns.sum()) for name, columns in beside.items()}
        return _Reached(tokens, sources, beside)
