"""The relevance of every generated token: one forward pass, one backward a token.

A causal model's logits at position p depend on the tokens up to p alone, so that one
forward pass over the whole text holds the graph of every prefix. Each logit in turn
depends on the model's last hidden state at its own position alone: the language-model
head is run backward once for all tokens, and each token's pass starts behind it. What
holds for a decoder holds for that of an encoder-decoder: the encoder's tokens stand
before all that it writes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ..attribution.finite import check_relevance
from ..attribution.instrument import Instrumentation
from ..attribution.readable import is_plain
from ..engine.autograd import carries
from ..engine.sources import SourceCollector
from ..engine.subject import Subject
from ..errors import LrpHooksWarning, UnsupportedModelError
from ..results.ledger import Ledger
from .batched import batch_rules, gradients_of_each
from .begun import Begun, Read, started
from .model import check_causal
from .table import Rows, Table

__all__ = ["relevance_of_each"]

BATCHED = 4
"""Tokens a backward pass: more are slower on a CPU, whose caches they overflow."""
BUDGET = 1 << 28
"""Bytes that the widest gradient of a backward pass may have."""
LONG = 64
"""Rows from which on some of them are worth a forward pass of their own."""


def relevance_of_each(
    model: nn.Module,
    lrp: Instrumentation,
    inputs: Mapping[str, Tensor],
    targets: Tensor,
    others: Tensor | None,
    chunk: int | None,
    table: Table,
    wrt: Sequence[str] | None = None,
) -> Generator[range]:
    """Explain the logit of each of the last tokens of a text.

    Long texts are explained in blocks, each from a forward pass over its own prefix.

    Args:
        model: The instrumented model.
        lrp: Its instrumentation.
        inputs: What the model is called with: one example, without the last token.
        targets: The tokens whose logits are explained, [G]: those of the last G
            positions.
        others: Tokens whose logits are subtracted, [G], if any.
        chunk: Tokens a backward pass; None for a number that suits the model.
        table: Takes the rows; those that it has already are not made again.
        wrt: The inputs that are read, that with the explained tokens last; the main
            one by default.

    Yields:
        The numbers of the rows that have just come.
    """
    name, count = wrt[-1] if wrt else "input_ids", len(targets)
    length = inputs[name].shape[1]
    size = _block(count - table.done, table.width)
    for begin in range(table.done, count, size):
        end = min(begin + size, count)
        given = _cut(inputs, name, length - count + end)
        rivals = None if others is None else others[begin:end]
        block = _Block(Subject(model), targets[begin:end], rivals, chunk, table)
        yield from block.run(model, lrp, given, wrt)


def _cut(inputs: Mapping[str, Tensor], name: str, stop: int) -> dict[str, Tensor]:
    """Cut a text, and what goes with each of its tokens."""
    shape = inputs[name].shape
    decodes = name.startswith("decoder")
    alike = {
        k
        for k, v in inputs.items()
        if v.shape == shape and not is_plain(v) and k.startswith("decoder") == decodes
    }
    return {k: v[:, :stop] if k in alike else v for k, v in inputs.items()}


def _block(count: int, width: int) -> int:
    """Return how many rows are worth a forward pass of their own.

    Each row goes backward through the longest prefix of its block, on average half a
    block too long; a pass over R rows wastes R / 2 of T positions R times, and costs T.
    """
    whole = count < LONG
    return max(1, count) if whole else max(LONG // 2, math.isqrt(2 * width))


class _Block:
    """Rows that start from one forward pass."""

    def __init__(
        self,
        subject: Subject,
        targets: Tensor,
        others: Tensor | None,
        chunk: int | None,
        table: Table,
    ) -> None:
        self.subject, self.targets, self.others = subject, targets, others
        self.chunk, self.table, self.count = chunk, table, len(targets)

    def run(
        self,
        model: nn.Module,
        lrp: Instrumentation,
        inputs: Mapping[str, Tensor],
        wrt: Sequence[str] | None,
    ) -> Iterator[range]:
        """Explain every token, some a pass."""
        explained = partial(_explained, targets=self.targets, others=self.others)
        with started(model, lrp, inputs, self.count, explained, wrt) as begun:
            self.table.meta["forward_passes"] = self._counted("forward_passes") + 1
            if begun.start is None:
                yield self._enter(_nothing(begun))
                return
            passes = _Passes(begun, self.count, self._chunk(begun))
            for rows in passes.run():
                names = [read.name for read in begun.reads]
                check_relevance(self.subject, {" and ".join(names): rows.scores})
                yield self._enter(rows)

    def _chunk(self, begun: Begun) -> int:
        """Return how many tokens a pass explains, and note what it takes."""
        widest = _widest_gradient(self.subject, begun.reads)
        chunk = self.chunk or max(1, min(BATCHED, BUDGET // widest))
        chunk = 1 if begun.collector.spread else min(chunk, self.count)
        meta = self.table.meta
        meta["read"] = [read.name for read in begun.reads]
        meta["gradient_bytes"] = max(chunk * widest, self._counted("gradient_bytes"))
        return chunk

    def _enter(self, rows: Rows) -> range:
        table, meta = self.table, self.table.meta
        meta["backward_passes"] = (
            self._counted("backward_passes") + rows.meta["backward_passes"]
        )
        meta["chunk"] = max(self._counted("chunk"), rows.meta["chunk"])
        first, stop = table.done, table.done + len(rows.scores)
        places = torch.arange(rows.scores.shape[1], device=rows.scores.device)
        numbers = torch.arange(first, stop, device=places.device)[:, None]
        check_causal(rows.scores, places < table.first + numbers, first)
        table.enter(rows)
        return range(first, stop)

    def _counted(self, key: str) -> int:
        return int(self.table.meta.get(key, 0))


class _Passes:
    """The backward passes through one graph, and what they bring."""

    def __init__(self, begun: Begun, count: int, chunk: int) -> None:
        assert begun.start is not None
        self.start, self.reads, self.collector = (
            begun.start,
            begun.reads,
            begun.collector,
        )
        self.output = begun.values[0].detach()
        self.count, self.chunk = count, chunk
        # With two inputs, a term's length does not tell whose positions it has.
        self.length = self.reads[0].places if len(self.reads) == 1 else None

    def run(self) -> Iterator[Rows]:
        """Explain every token, ``chunk`` of them a pass."""
        if self.chunk > 1:
            batch_rules([self.start.output], self.collector)
        begin = 0
        while begin < self.count:
            tokens = range(begin, min(begin + self.chunk, self.count))
            try:
                rows = self._explain(tokens)
            except (RuntimeError, UnsupportedModelError) as error:
                if self.chunk == 1:
                    raise
                self._alone(error)
                continue
            yield rows
            begin = tokens.stop

    def _alone(self, error: Exception) -> None:
        """Go on token by token, and say why."""
        warnings.warn(
            f"a backward pass of {self.chunk} tokens at once failed "
            f"({type(error).__name__}: {str(error)[:200]}); explaining them one by "
            "one. Pass chunk=1 to do so from the start.",
            LrpHooksWarning,
            stacklevel=2,
        )
        self.chunk = 1

    def _explain(self, tokens: range) -> Rows:
        seeds = self.start.seeds(tokens, self.count)
        leaves = tuple(read.leaf for read in self.reads)
        grads, noted = gradients_of_each(
            [self.start.output], leaves, [seeds], self.collector
        )
        parts, sums = [], []
        for read, grad in zip(self.reads, grads, strict=True):
            relevance = read.relevance(grad)
            parts.append(read.columns(relevance))
            sums.append(relevance.double().flatten(1).sum(1))
        found = _sorted(noted, len(tokens), self.length)
        self._add_head(tokens, found)
        output = self.output[tokens.start : tokens.stop]
        dtype = torch.promote_types(output.dtype, torch.float32)
        inputs = torch.stack(sums).sum(0).to(dtype)
        ledger = Ledger(inputs, found.sources, found.positions, output)
        meta = {"backward_passes": 1, "chunk": self.chunk}
        return Rows(torch.cat(parts, 1), ledger, meta)

    def _add_head(self, tokens: range, found: SourceCollector) -> None:
        """Add what the head has added, at each token's own place."""
        rows = torch.arange(len(tokens))
        for name, every in self.start.sources.items():
            values = every[tokens.start : tokens.stop]
            sources = found.sources.setdefault(name, torch.zeros_like(values))
            found.sources[name] = sources + values
            if self.length is None:
                continue
            shape = (len(tokens), self.length)
            placed = found.positions.setdefault(name, values.new_zeros(shape))
            first = self.length - self.count + tokens.start
            placed[rows, first + rows] += values


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


def _nothing(begun: Begun) -> Rows:
    """Return rows of zeros, for logits that do not depend on what is read."""
    output = begun.values[0].detach()
    scores = output.new_zeros(len(output), sum(r.places for r in begun.reads))
    sources = {} if carries(begun.values) else {"constant output": output.double()}
    ledger = Ledger(scores.sum(1), sources, {}, output)
    return Rows(scores, ledger, {"chunk": 0, "backward_passes": 0})
