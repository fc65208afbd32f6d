"""The relevance of every generated token: one forward pass, one backward a token.

A causal model's logits at position p depend on the tokens up to p alone, so that one
forward pass over the whole text holds the graph of every prefix. Each logit in turn
depends on the model's last hidden state at its own position alone: the language-model
head is run backward once for all tokens, and each token's pass starts behind it. What
holds for a decoder holds for that of an encoder-decoder: the encoder's tokens stand
before all that it writes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.backward import relevance_of
from ..attribution.finite import check_relevance
from ..attribution.instrument import Instrumentation
from ..attribution.places import by_place
from ..engine.autograd import carries
from ..engine.sources import SourceCollector
from ..engine.subject import Subject
from ..results.ledger import Ledger
from .batched import Noting, batch_rules, gradients_of_each
from .begun import Read, started
from .head import Start

__all__ = ["Rows", "relevance_of_each"]

BATCHED = 4
"""Tokens a backward pass: more are slower on a CPU, whose caches they overflow."""
BUDGET = 1 << 28
"""Bytes that the widest gradient of a backward pass may have."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The relevance of G generated tokens over the N tokens before the last one.

    Attributes:
        scores: [G, N].
        ledger: Its sources are [G], its positions [G, N].
        meta: How it was done.
    """

    scores: Tensor
    ledger: Ledger
    meta: dict[str, Any]


def relevance_of_each(
    model: nn.Module,
    lrp: Instrumentation,
    inputs: Mapping[str, Tensor],
    targets: Tensor,
    others: Tensor | None,
    chunk: int | None,
    wrt: Sequence[str] | None = None,
) -> Rows:
    """Explain the logit of each of the last tokens of a text.

    Args:
        model: The instrumented model.
        lrp: Its instrumentation.
        inputs: What the model is called with: one example, without the last token.
        targets: The tokens whose logits are explained, [G]: those of the last G
            positions.
        others: Tokens whose logits are subtracted, [G], if any.
        chunk: Tokens a backward pass; None for a number that suits the model.
        wrt: The inputs that are read, that with the explained tokens last; the main
            one by default.

    Returns:
        One row a token; what was read at several inputs stands side by side.
    """
    subject, count = Subject(model), len(targets)
    explained = partial(_explained, targets=targets, others=others)
    with started(model, lrp, inputs, count, explained, wrt) as begun:
        if begun.start is None:
            return _nothing(begun.values, sum(r.places for r in begun.reads))
        widest = _widest_gradient(subject, begun.reads)
        chunk = chunk or max(1, min(BATCHED, count, BUDGET // widest))
        chunk = 1 if begun.collector.spread else chunk  # ranks meet in each pass
        done = _Passes(begun.start, begun.reads, begun.collector, count)
        done.run(min(chunk, count))
    names = [read.name for read in begun.reads]
    check_relevance(subject, {" and ".join(names): done.scores})
    meta = {
        "read": names,
        "chunk": done.chunk,
        "backward_passes": done.passes,
        "gradient_bytes": done.chunk * widest,
    }
    return Rows(done.scores, done.ledger(begun.values[0].detach()), meta)


class _Passes:
    """The backward passes through one graph, and what they bring."""

    def __init__(
        self, start: Start, reads: Sequence[Read], collector: Noting, count: int
    ) -> None:
        self.start, self.reads, self.collector = start, reads, collector
        self.count, self.passes, self.chunk = count, 0, 1
        # With two inputs, a term's length does not tell whose positions it has.
        self.length = reads[0].places if len(reads) == 1 else None
        width, leaf = sum(r.places for r in reads), reads[0].leaf
        self.scores = torch.zeros(count, width, dtype=leaf.dtype, device=leaf.device)
        self.inputs = self.scores.new_zeros(count, dtype=torch.float64)
        self.sources: dict[str, Tensor] = {}
        self.positions: dict[str, Tensor] = {}

    def run(self, chunk: int) -> None:
        """Explain every token, ``chunk`` of them a pass."""
        self.chunk = chunk
        if chunk > 1:
            batch_rules(self.start.output, self.collector)
        begin = 0
        while begin < self.count:
            tokens = range(begin, min(begin + self.chunk, self.count))
            try:
                self._explain(tokens)
            except (RuntimeError, NotImplementedError) as error:
                if self.chunk == 1:
                    raise
                self._alone(error)
                continue
            begin = tokens.stop

    def _alone(self, error: Exception) -> None:
        """Go on token by token, and say why."""
        warnings.warn(
            f"a backward pass of {self.chunk} tokens at once failed "
            f"({type(error).__name__}: {str(error)[:200]}); explaining them one by "
            "one. Pass chunk=1 to do so from the start.",
            stacklevel=2,
        )
        self.chunk = 1

    def _explain(self, tokens: range) -> None:
        seeds = self.start.seeds(tokens, self.count)
        leaves = tuple(read.leaf for read in self.reads)
        grads, noted = gradients_of_each(
            self.start.output, leaves, seeds, self.collector
        )
        rows, begin = slice(tokens.start, tokens.stop), 0
        for read, grad in zip(self.reads, grads, strict=True):
            relevance = relevance_of(read.leaf, grad[:, 0])
            columns = slice(begin, begin := begin + read.places)
            self.scores[rows, columns] = by_place(relevance, read.bands_first)
            self.inputs[rows] += relevance.double().flatten(1).sum(1)
        sorted_ = _sorted(noted, len(tokens), self.length)
        for table, found in (
            (self.sources, sorted_.sources),
            (self.positions, sorted_.positions),
        ):
            for name, values in found.items():
                shape = (self.count, *values.shape[1:])
                table.setdefault(name, values.new_zeros(shape))[rows] = values
        self.passes += 1

    def ledger(self, output: Tensor) -> Ledger:
        """Return the ledger of all tokens, given their logits [G]."""
        for name, values in self.start.sources.items():
            sources = self.sources.setdefault(name, torch.zeros_like(values))
            sources += values
            if self.length is not None:
                shape = (self.count, self.length)
                positions = self.positions.setdefault(name, values.new_zeros(shape))
                positions.diagonal(self.length - self.count)[:] += values
        dtype = torch.promote_types(output.dtype, torch.float32)
        return Ledger(self.inputs.to(dtype), self.sources, self.positions, output)


def _explained(logits: Tensor, targets: Tensor, others: Tensor | None) -> list[Tensor]:
    """Return the explained logits or differences of logits, [1, G]."""
    chosen = logits.gather(2, targets.view(1, -1, 1)).squeeze(2)
    if others is None:
        return [chosen]
    return [chosen - logits.gather(2, others.view(1, -1, 1)).squeeze(2)]


def _sorted(
    noted: Iterable[tuple[str, Tensor]], count: int, length: int | None
) -> SourceCollector:
    """Sort the terms [C, ...] of C passes over one text as those of C examples."""
    collector = SourceCollector(count, length)
    for name, terms in noted:
        collector.add(name, terms.squeeze(1) if terms.shape[1:2] == (1,) else terms)
    collector.settle()
    return collector


def _widest_gradient(subject: Subject, reads: Sequence[Read]) -> int:
    """Return the bytes of one token's gradient for the model's widest activation."""
    tables = {id(m.weight) for m in subject.embeddings.values()}
    head = subject.model.get_output_embeddings()  # type: ignore[operator]
    tables |= {id(p) for p in head.parameters()}
    shapes = [p.shape for p in subject.model.parameters() if id(p) not in tables]
    widths = [max(shape) for shape in shapes if len(shape) == 2]
    sizes = [max([r.places * w for w in widths] + [r.leaf.numel()]) for r in reads]
    return max(sizes) * reads[0].leaf.element_size()


def _nothing(explained: Tensor, width: int) -> Rows:
    """Return rows of zeros, for logits that do not depend on what is read."""
    output = explained[0].detach()
    scores = output.new_zeros(len(output), width)
    sources = {} if carries(explained) else {"constant output": output.double()}
    ledger = Ledger(scores.sum(1), sources, {}, output)
    return Rows(scores, ledger, {"chunk": 0, "backward_passes": 0})
