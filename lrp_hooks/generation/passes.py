"""The relevance of every generated token: one forward pass, one backward a token.

A causal model's logits at position p depend on the tokens up to p alone, so that one
forward pass over the whole text holds the graph of every prefix. Each logit in turn
depends on the model's last hidden state at its own position alone: the language-model
head is run backward once for all tokens, and each token's pass starts behind it.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.backward import relevance_of
from ..attribution.checks import check_reached
from ..attribution.finite import check_output, check_relevance
from ..attribution.instrument import Instrumentation
from ..attribution.passes import Request, forward_pass, prepared
from ..attribution.readout import find_logits
from ..engine.autograd import carries
from ..engine.foreign import depends
from ..engine.sources import SourceCollector
from ..engine.subject import Subject
from ..errors import UnruledWarning
from ..results.ledger import Ledger
from .batched import Noting, batch_rules, gradients_of_each
from .head import Start, start_of_each, watched_head

__all__ = ["Begun", "Rows", "relevance_of_each", "started"]

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
    ids: Tensor,
    targets: Tensor,
    others: Tensor | None,
    chunk: int | None,
) -> Rows:
    """Explain the logit of each of the last tokens of a text.

    Args:
        model: The instrumented model.
        lrp: Its instrumentation.
        ids: The tokens but the last one, [1, N].
        targets: The tokens whose logits are explained, [G]; the first one follows the
            token at N - G.
        others: Tokens whose logits are subtracted, [G], if any.
        chunk: Tokens a backward pass; None for a number that suits the model.

    Returns:
        One row a token.
    """
    subject, count = Subject(model), len(targets)
    explained = partial(_explained, targets=targets, others=others)
    with started(model, lrp, ids, count, explained) as begun:
        if begun.start is None:
            return _nothing(begun.values, ids)
        chunk = chunk or _automatic(subject, begun.read, count)
        done = _Passes(begun.start, begun.read, begun.collector, count)
        done.run(min(chunk, count))
    check_relevance(subject, {begun.name: done.scores})
    meta = {
        "read": [begun.name],
        "chunk": done.chunk,
        "backward_passes": done.passes,
        "gradient_bytes": done.chunk * _widest_gradient(subject, begun.read),
    }
    return Rows(done.scores, done.ledger(begun.values[0].detach()), meta)


@dataclass(frozen=True, eq=False)
class Begun:
    """One forward pass over a text, from which backward passes can start.

    Attributes:
        values: What is explained of the last tokens, [1, G].
        name: What is read.
        read: Its leaf.
        collector: Where sources are noted.
        start: Where the passes start; None if nothing depends on what is read.
    """

    values: Tensor
    name: str
    read: Tensor
    collector: Noting
    start: Start | None


@contextmanager
def started(
    model: nn.Module,
    lrp: Instrumentation,
    ids: Tensor,
    count: int,
    explained: Callable[[Tensor], list[Tensor]],
) -> Generator[Begun]:
    """Run a language model once over a text, and its head backward.

    Args:
        model: The instrumented model.
        lrp: Its instrumentation.
        ids: The tokens but the last one, [1, N].
        count: G, how many of the tokens that follow are explained: the last ones.
        explained: From the logits before those, [1, G, V], to what is explained of
            each: terms [1, G] of a sum.

    Yields:
        Where the backward passes start.
    """
    subject = Subject(model)
    request = Request(_inputs(model, ids, count), None, None, (), _complain)
    with prepared(subject, request.inputs) as call, watched_head(model) as hidden:
        forward = forward_pass(subject, lrp.runtime, call, request, Noting)
        parts = explained(find_logits(forward.output)[:, -count:])
        values = torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
        check_output(subject, call, values[0])
        lrp.runtime.report_graph(values, forward.collector)
        ((name, read),) = forward.reads.items()
        collector = forward.collector
        assert isinstance(collector, Noting)
        start = None
        if depends(values, [read]):
            start = start_of_each(values, parts, hidden, collector)
        else:
            check_reached([name], _complain)
        yield Begun(values, name, read, collector, start)


class _Passes:
    """The backward passes through one graph, and what they bring."""

    def __init__(
        self, start: Start, read: Tensor, collector: Noting, count: int
    ) -> None:
        self.start, self.read, self.collector = start, read, collector
        self.count, self.passes, self.chunk = count, 0, 1
        length = read.shape[1]
        self.scores = torch.zeros(count, length, dtype=read.dtype, device=read.device)
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
        grads, noted = gradients_of_each(
            self.start.output, self.read, seeds, self.collector
        )
        rows = slice(tokens.start, tokens.stop)
        relevance = relevance_of(self.read, grads[:, 0])
        self.scores[rows] = relevance.sum(-1)
        self.inputs[rows] = relevance.double().flatten(1).sum(1)
        sorted_ = _sorted(noted, len(tokens), self.read.shape[1])
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
        last = self.read.shape[1] - self.count
        for name, values in self.start.sources.items():
            sources = self.sources.setdefault(name, torch.zeros_like(values))
            sources += values
            shape = (self.count, self.read.shape[1])
            positions = self.positions.setdefault(name, values.new_zeros(shape))
            positions.diagonal(last)[:] += values
        dtype = torch.promote_types(output.dtype, torch.float32)
        return Ledger(self.inputs.to(dtype), self.sources, self.positions, output)


def _inputs(model: nn.Module, ids: Tensor, count: int) -> dict[str, Any]:
    """Ask the model for the last logits alone where it can be asked."""
    offered = {
        "attention_mask": torch.ones_like(ids),
        "logits_to_keep": count,
        "use_cache": False,
    }
    takes = inspect.signature(model.forward).parameters
    return {"input_ids": ids, **{k: v for k, v in offered.items() if k in takes}}


def _explained(logits: Tensor, targets: Tensor, others: Tensor | None) -> list[Tensor]:
    """Return the explained logits or differences of logits, [1, G]."""
    chosen = logits.gather(2, targets.view(1, -1, 1)).squeeze(2)
    if others is None:
        return [chosen]
    return [chosen - logits.gather(2, others.view(1, -1, 1)).squeeze(2)]


def _sorted(
    noted: Iterable[tuple[str, Tensor]], count: int, length: int
) -> SourceCollector:
    """Sort the terms [C, ...] of C passes over one text as those of C examples."""
    collector = SourceCollector(count, length)
    for name, terms in noted:
        collector.add(name, terms.squeeze(1) if terms.shape[1:2] == (1,) else terms)
    collector.settle()
    return collector


def _automatic(subject: Subject, read: Tensor, count: int) -> int:
    return max(1, min(BATCHED, count, BUDGET // _widest_gradient(subject, read)))


def _widest_gradient(subject: Subject, read: Tensor) -> int:
    """Return the bytes of one token's gradient for the model's widest activation."""
    tables = {id(m.weight) for m in subject.embeddings.values()}
    head = subject.model.get_output_embeddings()  # type: ignore[operator]
    tables |= {id(p) for p in head.parameters()}
    shapes = [p.shape for p in subject.model.parameters() if id(p) not in tables]
    widths = [max(shape) for shape in shapes if len(shape) == 2]
    return read.shape[1] * max([*widths, read.shape[-1]]) * read.element_size()


def _nothing(explained: Tensor, ids: Tensor) -> Rows:
    """Return rows of zeros, for logits that do not depend on what is read."""
    output = explained[0].detach()
    scores = output.new_zeros(len(output), ids.shape[1])
    sources = {} if carries(explained) else {"constant output": output.double()}
    ledger = Ledger(scores.sum(1), sources, {}, output)
    return Rows(scores, ledger, {"chunk": 0, "backward_passes": 0})


def _complain(message: str) -> None:
    warnings.warn(message, UnruledWarning, stacklevel=2)
