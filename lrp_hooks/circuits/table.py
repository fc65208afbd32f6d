"""All nodes of a circuit, numbered, and what flows between them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..attribution.instrument import Instrumentation
from .circuit import Circuit, plain_target
from .examples import Examples
from .flows import Flows
from .nodes import CONSTANT, OUTPUT, REST, TOKEN, Edge, Node
from .outflow import Columns, Places
from .selection import Carried
from .sites import Site
from .trace import Traced

__all__ = ["Table"]

MOST_TOKENS = 512
"""Places of the input that are nodes of their own at most; pixels may be more."""
LEAK = "leak"


class Table:
    """All nodes, each with a number, and what flows between them.

    Attributes:
        labels: A name for each position.
        traces: What came of each example.
        complete: Whether the rule set loses no relevance.
        outside: Names of modules whose positions are not those of the input.
        nodes: All nodes, but the one for leaks.
        places: Which node each place of a graph belongs to.
    """

    def __init__(
        self,
        examples: Examples,
        traces: Sequence[Traced],
        carried: Sequence[Carried],
        kept: Sequence[Tensor],
        complete: bool,
    ) -> None:
        """Number the nodes.

        Args:
            examples: What is explained.
            traces: What came of each example.
            carried: The relevance of each level, the mean over examples.
            kept: Which of a level are nodes of their own, [K] each.
            complete: Whether the rule set loses no relevance.
        """
        self.labels, self.traces = examples.labels, traces
        self.complete = complete
        self.outside = examples.each[0].outside
        self.nodes: list[Node] = []
        inputs = self._add_inputs(examples)
        constants = [sum(trace.constants.values()) for trace in traces]
        self.nodes.append(_plain(CONSTANT, CONSTANT, sum(constants) / len(traces)))
        constant = len(self.nodes) - 1
        levels = [
            self._add_level(each, keys)
            for each, keys in zip(carried, kept, strict=True)
        ]
        output = sum(trace.output for trace in traces) / len(traces)
        self.nodes.append(_plain(OUTPUT, OUTPUT, output, output))
        self.places = Places(inputs, constant, levels, len(self.nodes) - 1)

    def _add_inputs(self, examples: Examples) -> Tensor:
        """Add what is read, and return the number of each place."""
        roles = [
            example.places(len(trace.inputs))
            for example, trace in zip(examples.each, self.traces, strict=True)
        ]
        size = max(int(role.max()) for role in roles) + 1
        sums = torch.zeros(size, dtype=torch.float64)
        for role, trace in zip(roles, self.traces, strict=True):
            sums.index_add_(0, role, trace.inputs.cpu())
        sums /= len(self.traces)
        order = sums.abs().argsort(descending=True, stable=True)
        shown = sorted(order[:MOST_TOKENS].tolist())
        owners = torch.full((size,), len(shown))
        for place in shown:
            owners[place] = len(self.nodes)
            named = self.labels[place] if size == len(self.labels) else None
            value = float(sums[place])
            name = f"{TOKEN}:{place}"
            self.nodes.append(Node(name, TOKEN, None, place, None, named, value, None))
        if size > len(shown):
            rest = float(sums.sum() - sums[shown].sum())
            self.nodes.append(_plain(f"{REST}:inputs", REST, rest))
        return owners

    def _add_level(self, carried: Carried, kept: Tensor) -> Columns:
        """Add the nodes of a level, and return where they stand."""
        level, site = carried.level, carried.level.site
        values, activations = carried.relevance.flatten(), carried.activation.flatten()
        first, roles = len(self.nodes), len(carried.relevance)
        has_place = roles > 1 or len(self.labels) == 1
        same = has_place and self._has_labels(site, roles)
        for key in kept.tolist():
            role, index = divmod(key, level.width)
            place = role if has_place else None
            at = "" if place is None else f"{place}:"
            self.nodes.append(
                Node(
                    f"{site.kind}:{site.layer}:{at}{index}",
                    site.kind,
                    site.layer,
                    place,
                    index,
                    self.labels[role] if same else None,
                    float(values[key]),
                    float(activations[key]),
                    site,
                )
            )
        if len(kept) == int(carried.present.sum()):
            return Columns(kept, first, -1)
        total = float(values.sum() - values[kept].sum())
        name = f"{REST}:{site.kind}:{site.layer}"
        self.nodes.append(Node(name, REST, site.layer, None, None, None, total, None))
        return Columns(kept, first, len(self.nodes) - 1)

    def _has_labels(self, site: Site, roles: int) -> bool:
        """Tell whether a site's positions are those of the input's tokens."""
        return roles == len(self.labels) and site.module not in self.outside

    def circuit(self, flows: Sequence[Flows], lrp: Instrumentation) -> Circuit:
        """Make the circuit of everything that flows.

        Args:
            flows: What flows in each example.
            lrp: The instrumentation.

        Returns:
            The circuit, the mean over examples.
        """
        table = torch.stack([each.table for each in flows]).mean(0)
        nodes = list(self.nodes)
        edges = [
            Edge(nodes[i].id, nodes[j].id, float(table[i, j]))
            for i, j in table.nonzero().tolist()
        ]
        if not self.complete:
            edges += self._leaks(table)
            lost = sum(edge.flow for edge in edges if edge.source == LEAK)
            nodes.insert(self.places.constant + 1, _plain(LEAK, CONSTANT, lost))
        constants: dict[str, float] = {}
        for trace in self.traces:
            for name, value in trace.constants.items():
                constants[name] = constants.get(name, 0.0) + value / len(self.traces)
        meta = {
            "examples": len(self.traces),
            "constants": constants,
            "backward_passes": sum(each.passes for each in flows),
        }
        return Circuit(
            nodes=nodes,
            edges=edges,
            output=nodes[-1].relevance,
            target=plain_target([trace.target for trace in self.traces]),
            rules=lrp.rules.name,
            tokens=self.labels,
            meta=meta,
        )

    def _leaks(self, table: Tensor) -> list[Edge]:
        """Say what a rule set that loses relevance has lost before each node."""
        gaps = [
            (node, node.relevance - float(into))
            for node, into in zip(self.nodes, table.sum(0), strict=True)
            if not node.is_given
        ]
        return [Edge(LEAK, node.id, gap) for node, gap in gaps if gap]


def _plain(
    name: str, kind: str, relevance: float, activation: float | None = None
) -> Node:
    """Return a node that has no place."""
    return Node(name, kind, None, None, None, None, relevance, activation)
