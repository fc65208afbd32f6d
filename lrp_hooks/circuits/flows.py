"""The edges of a circuit: what flows from node to node on paths through no other.

A backward pass that starts at a node's own coefficient, in the graph that is cut at
every site, brings its incoming flow from all nodes below, from what is read and from
constants. Several nodes of a level go at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..attribution.checks import TARGET
from ..attribution.instrument import Instrumentation
from ..engine.autograd import carries
from ..engine.subject import Subject
from ..generation.batched import Noting, batch_rules, gradients_of_each
from .examples import Example
from .parts import Places, parts_of
from .selection import Level
from .trace import Cut, Traced, cut, read_relevance

__all__ = ["Flows", "flows_of"]

BATCHED = 16
"""Nodes a backward pass: more are slower on a CPU, whose caches they overflow."""


@dataclass(eq=False)
class Flows:
    """What flows between nodes.

    Attributes:
        table: From row to column, [nodes, nodes] in float64.
        passes: How many backward passes it took.
    """

    table: Tensor
    passes: int = 0


def flows_of(
    subject: Subject,
    lrp: Instrumentation,
    example: Example,
    traced: Traced,
    levels: Sequence[Level],
    places: Places,
    batched: int = BATCHED,
) -> Flows:
    """Find the flow of one example.

    Args:
        subject: The instrumented model.
        lrp: Its instrumentation.
        example: The example.
        traced: What its nodes carry.
        levels: The levels of all examples.
        places: Where nodes stand in the table.
        batched: How many nodes a backward pass starts at.

    Returns:
        The flow.
    """
    size = places.output + 1
    flows = Flows(torch.zeros(size, size, dtype=torch.float64))
    sites = [level.site for level in levels]
    columns = [
        places.owners[number][level.keys(example, traced, number)]
        for number, level in enumerate(levels)
    ]
    inputs = places.inputs[example.places(len(traced.inputs))]
    places = replace(places, inputs=inputs)
    with cut(subject, lrp, example, sites) as graph:
        runs = _Runs(subject, graph, traced, levels, columns, places, flows)
        runs.allow(batched)
        for number in reversed(range(len(levels))):
            runs.level(number)
        runs.output()
    return flows


class _Runs:
    """Backward passes through one cut graph."""

    def __init__(
        self,
        subject: Subject,
        graph: Cut,
        traced: Traced,
        levels: Sequence[Level],
        columns: list[Tensor],
        places: Places,
        flows: Flows,
    ) -> None:
        self.subject, self.graph, self.traced = subject, graph, traced
        self.columns, self.places, self.flows = columns, places, flows
        assert isinstance(graph.forward.collector, Noting)
        self.collector = graph.forward.collector
        self.reads = list(graph.reads.values())
        self.batched = 1
        sites = [level.site for level in levels]
        self.parts = parts_of(subject, graph, sites, columns, places)

    def allow(self, batched: int) -> None:
        """Let rules take several gradients at once."""
        self.batched = batched
        if batched > 1:
            behind = [pair[0] for pair in self.graph.behind if pair is not None]
            ends = [self.graph.output, *self.graph.arriving, *behind]
            live = [end.sum() for end in ends if end is not None and carries(end)]
            if live:
                batch_rules(torch.stack(live), self.collector, folds=True)

    def output(self) -> None:
        """Enter what flows into the output."""
        seed = torch.ones_like(self.graph.output)[None]
        self._enter([self.places.output], self.graph.output, seed, len(self.columns))

    def level(self, number: int) -> None:
        """Enter what flows into the nodes of a level."""
        arriving = self.graph.arriving[number]
        if arriving is None:
            return
        coefficient = self.traced.coefficients[number]
        columns = self.columns[number]
        wide = columns.repeat_interleave(coefficient.shape[1] // columns.shape[1], 1)
        live = wide.to(coefficient.device)
        targets = sorted(set(columns.flatten().tolist()))
        while targets:
            several, targets = targets[: self.batched], targets[self.batched :]
            asked = torch.tensor(several, device=live.device).view(-1, 1, 1)
            seeds = torch.where(live == asked, coefficient, 0.0)
            try:
                self._enter(several, arriving, seeds, number)
            except (RuntimeError, NotImplementedError) as error:
                if self.batched == 1:
                    raise
                self._alone(error)
                targets = several + targets

    def _alone(self, error: Exception) -> None:
        """Go on node by node, and say why."""
        warnings.warn(
            f"a backward pass of {self.batched} nodes at once failed "
            f"({type(error).__name__}: {str(error)[:200]}); going on one by one.",
            stacklevel=2,
        )
        self.batched = 1

    def _enter(
        self, targets: Sequence[int], end: Tensor, seeds: Tensor, number: int
    ) -> None:
        """Run backward from a level, and enter what reaches all that is below."""
        if not carries(end):
            return
        below = [part for part in self.parts if part.number < number]
        leaves = [leaf for part in below for leaf in part.leaves]
        grads, noted = gradients_of_each(
            end, [*self.reads, *leaves], seeds, self.collector
        )
        self.flows.passes += 1
        found = torch.zeros(len(targets), len(self.flows.table), dtype=torch.float64)
        self._enter_reads(found, grads[: len(self.reads)])
        self._enter_constants(found, noted)
        rest = iter(grads[len(self.reads) :])
        for part in below:
            noted = part.enter(found, [next(rest) for _ in part.leaves], self.collector)
            self._enter_constants(found, noted)
        self.flows.table[:, list(targets)] += found.T

    def _enter_constants(
        self, found: Tensor, noted: Iterable[tuple[str, Tensor]]
    ) -> None:
        for name, terms in noted:
            if name != TARGET:
                found[:, self.places.constant] += terms.flatten(1).double().sum(1).cpu()

    def _enter_reads(self, found: Tensor, grads: Sequence[Tensor]) -> None:
        for row in range(len(found)):
            scores = read_relevance(
                self.subject, self.graph.forward, [grad[row] for grad in grads]
            )
            found[row].index_add_(0, self.places.inputs, scores.cpu())
