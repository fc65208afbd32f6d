"""What a circuit consists of: nodes, and what flows between them."""

from __future__ import annotations

from dataclasses import dataclass

from .sites import Site

__all__ = ["CONSTANT", "OUTPUT", "REST", "TOKEN", "Edge", "Node"]

TOKEN, REST, CONSTANT, OUTPUT = "token", "rest", "constant", "output"


@dataclass(frozen=True)
class Node:
    """A node of a circuit.

    Attributes:
        id: Its name in the graph.
        kind: ``"token"``, ``"neuron"``, ``"head"``, ``"rest"`` (what was not kept of a
            layer and kind), ``"constant"`` or ``"output"``.
        layer: The number of its layer among those of its kind, from 0; None for tokens,
            constants and the output.
        position: Its position; the number of its label where ``positions`` were given;
            None where it has none.
        index: The number of the neuron, or of the head; of experts, which share a
            layer, neurons are counted on.
        token: What stands at the position, if it is known.
        relevance: The part of the output that passes through it.
        activation: The neuron's activation; a head's length; the output itself.
        site: Where it stands in the model; None for what is no neuron and no head.
    """

    id: str
    kind: str
    layer: int | None
    position: int | None
    index: int | None
    token: str | None
    relevance: float
    activation: float | None
    site: Site | None = None

    @property
    def is_given(self) -> bool:
        """Whether it is where relevance ends: what is read, or constants."""
        rest_of_inputs = self.kind == REST and self.layer is None
        return self.kind in {TOKEN, CONSTANT} or rest_of_inputs


@dataclass(frozen=True)
class Edge:
    """What flows from a node to another one on paths through no other node.

    Attributes:
        source: The id of the node that it comes from.
        target: The id of the node that it goes to.
        flow: The part of the target's relevance that came from the source.
    """

    source: str
    target: str
    flow: float
