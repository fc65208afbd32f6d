"""The edges of a circuit: what flows from node to node on paths through no other.

A backward pass that starts at a node's own coefficient, in the graph that is cut at
every site, brings its incoming flow from all nodes below, from what is read and from
constants. Several nodes of a level go at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..attribution.checks import TARGET
from ..attribution.instrument import Instrumentation
from ..engine.autograd import carries
from ..engine.subject import Subject
from ..generation.batched import Noting, batch_rules, gradients_of_each
from .examples import Example
from .selection import Level
from .trace import Cut, Traced, cut, read_relevance

__all__ = ["Flows", "Places", "flows_of"]

BATCHED = 8
"""Nodes a backward pass: more are slower on a CPU, whose caches they overflow."""


@dataclass(frozen=True, eq=False)
class Places:
    """Where nodes stand in a table of flows.

    Attributes:
        inputs: What each place of the input is: [N] columns.
        constant: The column of constants.
        owners: For each level, of each key its column: a node's own, or the rest's.
        output: The column of the output.
    """

    inputs: Tensor
    constant: int
    owners: list[Tensor]
    output: int


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
    with cut(subject, lrp, example, sites) as graph:
        runs = _Runs(subject, graph, traced, columns, places, flows)
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

    def allow(self, batched: int) -> None:
        """Let rules take several gradients at once."""
        self.batched = batched
        if batched > 1:
            ends = [self.graph.output, *self.graph.arriving]
            live = [end.sum() for end in ends if end is not None and carries(end)]
            if live:
                batch_rules(torch.stack(live), self.collector)

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
        targets = columns.unique().tolist()
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
        leaves = [leaf for below in self.graph.leaving[:number] for leaf in below]
        if not carries(end):
            return
        grads, noted = gradients_of_each(
            end, [*self.reads, *leaves], seeds, self.collector
        )
        self.flows.passes += 1
        found = torch.zeros(len(targets), len(self.flows.table), dtype=torch.float64)
        self._enter_reads(found, grads[: len(self.reads)])
        rest = iter(grads[len(self.reads) :])
        for below, leaves in enumerate(self.graph.leaving[:number]):
            if leaves:
                parts = [next(rest).flatten(1, -2) for _ in leaves]
                self._enter_level(found, below, leaves, parts)
        for name, terms in noted:
            if name != TARGET:
                found[:, self.places.constant] += terms.flatten(1).double().sum(1).cpu()
        self.flows.table[:, list(targets)] += found.T

    def _enter_reads(self, found: Tensor, grads: Sequence[Tensor]) -> None:
        for row in range(len(found)):
            scores = read_relevance(
                self.subject, self.graph.forward, [grad[row] for grad in grads]
            )
            found[row].index_add_(0, self.places.inputs, scores.cpu())

    def _enter_level(
        self,
        found: Tensor,
        below: int,
        leaves: Iterable[Tensor],
        grads: Sequence[Tensor],
    ) -> None:
        """Sum a x g by node; most nodes are of the rest."""
        values = torch.cat([leaf.detach() for leaf in leaves]).double()
        grad = torch.cat(list(grads), 1).double()
        columns = self.columns[below]
        flow = grad.mul_(values)
        if flow.shape[2] != columns.shape[1]:
            flow = flow.view(*flow.shape[:2], columns.shape[1], -1).sum(-1)
        found.index_add_(1, columns.flatten(), flow.flatten(1).cpu())
