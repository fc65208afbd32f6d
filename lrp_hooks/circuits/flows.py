"""The edges of a circuit: what flows from node to node on paths through no other.

A backward pass that starts at a node's own coefficient, in the graph that is cut at
every site, brings its incoming flow from all nodes below, from what is read and from
constants. Several nodes of a level go at once.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from ..attribution.checks import TARGET
from ..attribution.instrument import Instrumentation
from ..engine.autograd import carries
from ..engine.subject import Subject
from ..errors import LrpHooksWarning, UnsupportedModelError
from ..generation.batched import End, Noting, batch_rules, gradients_of_each
from .cut import Cut, cut
from .examples import Example
from .outflow import Places, outflows
from .selection import Level
from .trace import Traced, read_relevance

__all__ = ["Flows", "flows_of"]

BATCHED = 12
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
    inputs = places.inputs[example.places(len(traced.inputs))]
    places = replace(places, inputs=inputs)
    with cut(subject, lrp, example, [level.site for level in levels]) as graph:
        runs = _Runs(subject, graph, example, traced, levels, places, flows)
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
        example: Example,
        traced: Traced,
        levels: Sequence[Level],
        places: Places,
        flows: Flows,
    ) -> None:
        self.subject, self.graph, self.example = subject, graph, example
        self.traced, self.levels = traced, levels
        self.places, self.flows = places, flows
        assert isinstance(graph.forward.collector, Noting)
        self.collector = graph.forward.collector
        self.reads = list(graph.reads.values())
        self.batched = 1
        columns = map(self.columns, range(len(levels)))
        sites = [level.site for level in levels]
        self.outflows = outflows(subject, graph, sites, columns, places)
        sinks = [out for out in self.outflows if out.part.sink is not None]
        self.sinks = {out.part.sink.name: out for out in sinks if out.part.sink}

    def columns(self, number: int) -> Tensor:
        """Return the column of each node of a level, [R, G]."""
        keys = self.levels[number].keys(self.example, self.traced.rows[number])
        return self.places.levels[number].of(keys)

    def allow(self, batched: int) -> None:
        """Let rules take several gradients at once."""
        self.batched = batched
        if batched > 1:
            arrived = itertools.chain(*self.graph.arriving)
            edges = [each.edge for each in arrived if each.edge is not None]
            sinks = [out.part.sink for out in self.outflows if out.part.sink]
            made = [sink.made for sink in sinks if sink.made is not None]
            live = [self.graph.output] if carries(self.graph.output) else []
            batch_rules([*live, *edges, *made], self.collector, folds=True)

    def output(self) -> None:
        """Enter what flows into the output."""
        end = self.graph.output
        if carries(end):
            seeds = [torch.ones_like(end)[None]]
            self._enter([self.places.output], [end], seeds, len(self.levels))

    def level(self, number: int) -> None:
        """Enter what flows into the nodes of a level."""
        coefficient = self.traced.coefficients[number]
        columns = self.columns(number)
        wide = columns.repeat_interleave(coefficient.shape[1] // columns.shape[1], 1)
        live = wide.to(coefficient.device)
        targets = sorted(set(columns.flatten().tolist()))
        while targets:
            several, targets = targets[: self.batched], targets[self.batched :]
            asked = torch.tensor(several, device=live.device).view(-1, 1, 1)
            seeds = torch.where(live == asked, coefficient, 0.0)
            try:
                self._enter(several, *self._ends(number, seeds), number)
            except (RuntimeError, UnsupportedModelError) as error:
                if self.batched == 1:
                    raise
                self._alone(error)
                targets = several + targets

    def _ends(
        self, number: int, seeds: Tensor
    ) -> tuple[list[GradientEdge], list[Tensor]]:
        """Return what arrives at a level, and the seeds of each, of [C, R, W]."""
        arrived = self.graph.arriving[number]
        each = torch.split(seeds, [one.rows for one in arrived], 1)
        pairs = [
            (one.edge, seed)
            for one, seed in zip(arrived, each, strict=True)
            if one.edge is not None
        ]
        return [edge for edge, _ in pairs], [seed for _, seed in pairs]

    def _alone(self, error: Exception) -> None:
        """Go on node by node, and say why."""
        warnings.warn(
            f"a backward pass of {self.batched} nodes at once failed "
            f"({type(error).__name__}: {str(error)[:200]}); going on one by one.",
            LrpHooksWarning,
            stacklevel=2,
        )
        self.batched = 1

    def _enter(
        self,
        targets: Sequence[int],
        ends: Sequence[End],
        seeds: Sequence[Tensor],
        number: int,
    ) -> None:
        """Run backward from a level, and enter what reaches all that is below."""
        if not ends:
            return
        below = [out for out in self.outflows if out.part.number < number]
        leaves = [leaf for out in below for leaf in out.part.leaves]
        grads, noted = gradients_of_each(
            ends, [*self.reads, *leaves], seeds, self.collector
        )
        self.flows.passes += 1
        found = torch.zeros(len(targets), len(self.flows.table), dtype=torch.float64)
        self._enter_reads(found, grads[: len(self.reads)])
        self._enter_noted(found, noted)
        rest = iter(grads[len(self.reads) :])
        for out in below:
            each = [next(rest) for _ in out.part.leaves]
            if out.part.sink is None:
                out.enter(found, each)
        self.flows.table[:, list(targets)] += found.T

    def _enter_noted(self, found: Tensor, noted: Iterable[tuple[str, Tensor]]) -> None:
        """Enter what rules noted of constants, and sinks of nodes."""
        for name, terms in noted:
            out = self.sinks.get(name)
            if out is not None:
                besides = out.enter_noted(found, terms.squeeze(1), self.collector)
                self._enter_noted(found, besides)
            elif name != TARGET:
                found[:, self.places.constant] += terms.flatten(1).double().sum(1).cpu()

    def _enter_reads(self, found: Tensor, grads: Sequence[Tensor]) -> None:
        for row in range(len(found)):
            scores = read_relevance(
                self.subject, self.graph.forward, [grad[row] for grad in grads]
            )
            found[row].index_add_(0, self.places.inputs, scores.cpu())
