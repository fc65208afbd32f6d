"""A circuit: where relevance flows, as a graph that balances."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import ArgumentError
from ..results import storage
from ..results.shown import Page, Printed
from ..support.extras import require
from ..support.files import write_whole
from ..views.circuit import Diagram
from .diagram import diagram, told
from .exchange import attribution_graph
from .nodes import OUTPUT, Edge, Node
from .origin import Origin

if TYPE_CHECKING:
    from networkx import DiGraph
    from pandas import DataFrame

__all__ = ["Circuit", "plain_target"]


@dataclass(kw_only=True, eq=False, repr=False)
class Circuit(Page, Printed):
    """Where relevance flows, from tokens through neurons and heads to the output.

    For every node, relevance = sum of incoming flow = sum of outgoing flow; tokens and
    constants have no incoming flow, and the output has no outgoing one.

    Args:
        nodes: The nodes: tokens, constants, then layer by layer, the output last.
        edges: The flow.
        output: What is explained, a mean over the examples.
        target: What was asked for of each example.
        rules: The name of the rule set.
        tokens: What stands at each position.
        meta: ``"model"``, ``"targets"`` (what is explained of each example, by its
            name), ``"examples"``, ``"constants"`` (the relevance of each) and
            ``"backward_passes"``.
    """

    nodes: list[Node]
    edges: list[Edge]
    output: float
    target: Any
    rules: str
    tokens: list[str]
    meta: dict[str, Any] = field(default_factory=dict)
    origin: Origin | None = field(default=None, init=False)

    @property
    def balance(self) -> float:
        """The largest gap of a node's ledger, relative to the output or its terms."""
        gaps = [0.0]
        incoming, outgoing = self._sides()
        for node in self.nodes:
            sides = [] if node.is_given else [incoming[node.id]]
            sides += [] if node.kind == OUTPUT else [outgoing[node.id]]
            for flows in sides:
                scale = max(abs(self.output), sum(map(abs, flows)))
                gaps.append(abs(node.relevance - sum(flows)) / (scale or 1.0))
        return max(gaps)

    def _sides(self) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        """Return the flows into and out of every node."""
        incoming: dict[str, list[float]] = {node.id: [] for node in self.nodes}
        outgoing: dict[str, list[float]] = {node.id: [] for node in self.nodes}
        for edge in self.edges:
            incoming[edge.target].append(edge.flow)
            outgoing[edge.source].append(edge.flow)
        return incoming, outgoing

    def node(self, id: str) -> Node:
        """Return a node by its id.

        Args:
            id: Its name in the graph.

        Returns:
            The node.

        Raises:
            ArgumentError: If there is none of that name.
        """
        for node in self.nodes:
            if node.id == id:
                return node
        raise ArgumentError(f"id={id!r} is no node of the circuit; .nodes lists them.")

    @property
    def kept(self) -> list[Node]:
        """The neurons and heads that were kept, strongest first."""
        found = [node for node in self.nodes if node.site is not None]
        return sorted(found, key=lambda node: -abs(node.relevance))

    def faithfulness(
        self, batch: Any = None, ablation: str = "zero", *, target: Any = None
    ) -> float:
        """Ablate all neurons and heads but the circuit's, and measure the target.

        Args:
            batch: Inputs or texts to measure on, with as many tokens as the circuit's.
                Defaults to ``None``: those that it was found on.
            ablation: ``"zero"``, or ``"mean"``: an activation's mean over all positions
                and examples of the batch.
            target: The target of another batch. Defaults to ``None``: the circuit's.

        Returns:
            1 where the output is as if all was kept, 0 as if nothing was.
        """
        origin = self._origin("faithfulness()")
        return origin.share(self.kept, batch, ablation, target, remove=False)

    def completeness(
        self, batch: Any = None, ablation: str = "zero", *, target: Any = None
    ) -> float:
        """Ablate the circuit's neurons and heads alone, and measure the target.

        Experts that a router asks only then are none of its nodes, and stay.

        Args:
            batch: See `faithfulness`.
            ablation: See `faithfulness`.
            target: See `faithfulness`.

        Returns:
            The same share: near 0 where nothing outside of the circuit does its work.
        """
        origin = self._origin("completeness()")
        return origin.share(self.kept, batch, ablation, target, remove=True)

    def top_tokens(self, node: Node, k: int = 10) -> list[tuple[str, float]]:
        """Find what a neuron or head writes to the vocabulary (logit lens).

        Its output direction goes through the final norm, scale frozen, and the head.

        Args:
            node: A neuron, or a head, whose own values choose its direction.
            k: How many tokens.

        Returns:
            The tokens whose logits it raises most, with the logits of its direction at
            its activation, up to the final norm's scale.
        """
        return self._origin("top_tokens()").top_tokens(node, k)

    def _origin(self, work: str) -> Origin:
        if self.origin is None:
            raise ArgumentError(
                f"{work} runs the model, which a circuit from a file does not have; "
                "find it again with find_circuit()."
            )
        return self.origin

    def to_networkx(self) -> DiGraph:
        """Return a directed graph of node ids.

        Returns:
            A ``networkx.DiGraph``; nodes have the fields of `Node` but ``site``, edges
            ``flow``.
        """
        networkx = require("networkx", "flow", "to_networkx()")
        graph = networkx.DiGraph()
        for node in self.nodes:
            graph.add_node(node.id, **_row(node))
        for edge in self.edges:
            graph.add_edge(edge.source, edge.target, flow=edge.flow)
        return graph

    def to_dataframe(self) -> DataFrame:
        """Write every node as a row of a table.

        Returns:
            A pandas table with the fields of `Node`; of ``site`` the module's name.
        """
        pandas = require("pandas", "evaluate", "to_dataframe()")
        rows = [
            {
                "id": node.id,
                **_row(node),
                "module": None if node.site is None else node.site.module,
            }
            for node in self.nodes
        ]
        return pandas.DataFrame(rows)

    def attribution_graph(self, slug: str = "circuit") -> dict[str, Any]:
        """Describe the circuit as circuit-tracer's and Neuronpedia's pages read it.

        Args:
            slug: The graph's short name on such a page.

        Returns:
            What can be said in JSON.
        """
        return attribution_graph(
            self.nodes,
            self.edges,
            self.tokens,
            slug,
            scan=str(self.meta.get("model", "")),
            prompt=self.meta.get("prompt", ""),
        )

    def to_json(self, path: str | PathLike[str], slug: str = "circuit") -> None:
        """Write an `attribution_graph`.

        Args:
            path: The file; an older one is replaced once this one is whole.
            slug: The graph's short name on a page.
        """
        write_whole({path: json.dumps(self.attribution_graph(slug)).encode()})

    def view(self) -> Diagram:
        """Collect what there is to show.

        Returns:
            Plain numbers and strings.
        """
        return diagram(self.nodes, self.edges, self.output, self.meta, self.rules)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the circuit, without the model that it was found in.

        Args:
            path: The file, ``.safetensors`` or ``.json``.
        """
        storage.save(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Circuit:
        """Read what `save` wrote.

        Args:
            path: The file.

        Returns:
            The circuit; it has no model to run.
        """
        return storage.load_as(path, cls, cls)

    def __repr__(self) -> str:
        """Return how large it is, and what it explains."""
        return (
            f"Circuit({len(self.kept)} neurons and heads, {len(self.nodes)} nodes, "
            f"{len(self.edges)} edges, target={told(self.meta)!r}, "
            f"output={self.output:.4g}, rules={self.rules!r})"
        )


def _row(node: Node) -> dict[str, Any]:
    names = ("kind", "layer", "position", "index", "token", "relevance", "activation")
    return {name: getattr(node, name) for name in names}


def plain_target(target: Any) -> Any:
    """Return a target as it can be saved.

    Args:
        target: What was explained of an example.

    Returns:
        Numbers, or a name.
    """
    if isinstance(target, Tensor):
        return target.tolist()
    if isinstance(target, Sequence) and not isinstance(target, str):
        return [plain_target(each) for each in target]
    return target
