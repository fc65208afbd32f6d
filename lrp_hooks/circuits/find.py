"""`find_circuit`: relevance traced from tokens through nodes to an output."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.instrument import Instrumentation, instrument
from ..engine.ruleset import RuleSet
from ..engine.subject import Subject
from ..errors import ArgumentError, UnruledWarning
from ..support.suggest import did_you_mean
from .circuit import Circuit, plain_target
from .examples import Examples, read_examples
from .flows import Flows, flows_of
from .nodes import CONSTANT, OUTPUT, REST, TOKEN, Edge, Node
from .origin import Origin
from .outflow import Columns, Places
from .selection import Carried, carried_by, select_nodes
from .sites import HEAD, NEURON, Site
from .trace import Traced, sites_of, traced

__all__ = ["find_circuit"]

KINDS = {f"{NEURON}s": NEURON, f"{HEAD}s": HEAD}
MOST = 200
"""Nodes that are kept at most by default."""
MOST_EVER = 4000
"""Nodes of a table that fits into a memory, and is made in minutes."""
MOST_TOKENS = 512
"""Places of the input that are nodes of their own at most; pixels may be more."""
LEAK = "leak"


def find_circuit(
    model: nn.Module,
    inputs_or_text: Any,
    target: Any = None,
    *,
    tokenizer: Any = None,
    nodes: Sequence[str] = (f"{NEURON}s",),
    share: float = 0.8,
    max_nodes: int | None = None,
    rules: str | RuleSet = "conservative",
    positions: Sequence[Sequence[str]] | None = None,
) -> Circuit:
    """Trace relevance from tokens through neurons and heads to an output.

    Every neuron is a node, those that are not kept together: each layer and kind has a
    node for the rest, so that nothing is lost and the flow balances at every node.

    Args:
        model: Any module with feed-forward layers; it is left as it was.
        inputs_or_text: A tensor, a tuple of tensors or a mapping; or a text, a pair of
            texts or a list of such, which need a tokenizer. Of several examples, one
            circuit is found, the mean over them: then they need as many tokens, or
            ``positions``.
        target: What is explained: a class or token id, one for each example, a label,
            the name of a language model's next token, a ``Contrast`` of such, or a
            function of the model's output, linear if its relevance is to add up.
            Defaults to ``None``: the arg-max.
        tokenizer: A Hugging Face tokenizer, which also names the tokens of a batch.
        nodes: ``"neurons"`` (what enters the second linear layer of a feed-forward
            network, at a position), ``"heads"`` (a head's output at a position), or
            both.
        share: How much of each layer's absolute relevance the kept nodes carry, from 0
            to 1; 1 keeps everything.
        max_nodes: How many neurons and heads are kept at most, the strongest. Defaults
            to ``None``: 200, or all with ``share=1``.
        rules: See `instrument`. Where a rule set loses relevance, a constant node
            ``"leak"`` holds what it lost.
        positions: A label for each token of each example: positions of one label, in
            one example or in several, are one.

    Returns:
        The circuit.

    Raises:
        ArgumentError: If an argument is not as described, or the model has no such
            nodes.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"model is a {type(model).__name__}; it must be a torch.nn.Module: of a "
            "pipeline, pass its .model and tokenizer=its .tokenizer."
        )
    kinds = _checked(nodes, share, max_nodes)
    most = MOST if max_nodes is None and share < 1 else max_nodes
    examples = read_examples(model, inputs_or_text, tokenizer, target, positions)
    subject = Subject(model)
    sites = [sites_of(subject, example, kinds) for example in examples.each]
    if any(found != sites[0] for found in sites):
        raise ArgumentError(
            "the examples run through different layers of the model; find a circuit of "
            "each."
        )
    with instrument(model, rules) as lrp:
        traces = [traced(subject, lrp, each, sites[0]) for each in examples.each]
        carried = carried_by(sites[0], examples.each, traces)
        traces = [trace.without_activations() for trace in traces]
        kept = select_nodes(carried, share, most)
        _check_count(sum(map(len, kept)))
        table = _Table(examples, traces, carried, kept, lrp.rules.complete)
        levels = [each.level for each in carried]
        del carried, kept  # as large as the cut graph
        flows = [
            flows_of(subject, lrp, example, trace, levels, table.places)
            for example, trace in zip(examples.each, traces, strict=True)
        ]
        found = table.circuit(flows, lrp)
    _check_balance(found, traces[0].coefficients[0].dtype, table.complete)
    found.meta["model"] = type(model).__name__
    found.meta["prompt"] = inputs_or_text if isinstance(inputs_or_text, str) else ""
    found.origin = Origin(model, tokenizer, examples, kinds, target, positions)
    return found


def _check_count(count: int) -> None:
    """Refuse a graph that no memory holds.

    Raises:
        ArgumentError: If it is one.
    """
    if count > MOST_EVER:
        raise ArgumentError(
            f"{count:,} nodes would be kept, whose table of flows has as many rows and "
            f"columns; at most {MOST_EVER:,} are. Pass max_nodes=, or a smaller share."
        )


def _check_balance(found: Circuit, dtype: torch.dtype, complete: bool) -> None:
    """Warn of a graph that loses relevance under rules that lose none."""
    # Models in float64 may round some of their steps to float32.
    eps = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    if complete and found.balance > eps**0.5:
        warnings.warn(
            f"the circuit does not balance: a node's flow and its relevance differ by "
            f"{found.balance:.2g} of the output, so edges are missing or wrong. "
            "audit() shows whether a layer has no rule; in float32 or float64 it "
            "rounds less.",
            UnruledWarning,
            stacklevel=3,
        )


def _checked(
    nodes: Sequence[str], share: float, max_nodes: int | None
) -> tuple[str, ...]:
    """Return the kinds of nodes that are asked for."""
    if not isinstance(nodes, str | Sequence):
        raise ArgumentError(
            f"nodes={nodes!r} must be a list of {', '.join(map(repr, KINDS))}."
        )
    names = (nodes,) if isinstance(nodes, str) else tuple(nodes)
    for name in names:
        if name not in KINDS:
            raise ArgumentError(
                f"nodes names {name!r}, which is no kind of node; it must be one of "
                f"{', '.join(map(repr, KINDS))}, or both.{did_you_mean(name, KINDS)}"
            )
    if not names:
        raise ArgumentError(f"nodes is empty; name {' or '.join(map(repr, KINDS))}.")
    number = isinstance(share, int | float) and not isinstance(share, bool)
    if not number or not 0 < share <= 1:
        raise ArgumentError(
            f"share={share!r} must be a number above 0, and 1 at most: the part of a "
            "layer's relevance that its nodes carry."
        )
    whole = isinstance(max_nodes, int) and not isinstance(max_nodes, bool)
    if max_nodes is not None and (not whole or max_nodes < 1):
        raise ArgumentError(f"max_nodes={max_nodes!r} must be a whole number from 1.")
    return tuple(dict.fromkeys(KINDS[name] for name in names))


class _Table:
    """All nodes, each with a number, and what flows between them."""

    def __init__(
        self,
        examples: Examples,
        traces: Sequence[Traced],
        carried: Sequence[Carried],
        kept: Sequence[Tensor],
        complete: bool,
    ) -> None:
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
        """Make the circuit of everything that flows."""
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
