"""`find_circuit`: relevance traced from tokens through nodes to an output."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import nn

from ..attribution.instrument import instrument
from ..engine.ruleset import RuleSet
from ..engine.subject import Subject
from ..errors import ArgumentError, UnruledWarning
from ..results.target_text import ids_in, target_text
from ..support.folders import how_to_load
from ..support.suggest import did_you_mean
from ..texts.target_names import target_names
from .circuit import Circuit
from .examples import Examples, read_examples
from .flows import flows_of
from .origin import Origin
from .selection import carried_by, select_nodes
from .sites import HEAD, NEURON, Site
from .table import Table
from .trace import sites_of, traced

__all__ = ["find_circuit"]

KINDS = {f"{NEURON}s": NEURON, f"{HEAD}s": HEAD}
MOST = 200
"""Nodes that are kept at most by default."""
MOST_EVER = 4000
"""Nodes of a table that fits into a memory, and is made in minutes."""


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
        The circuit. An argument that is not as described, or a model that has no such
        nodes, is an `ArgumentError`.
    """
    _check_model(model)
    kinds = _checked(nodes, share, max_nodes)
    most = MOST if max_nodes is None and share < 1 else max_nodes
    examples = read_examples(model, inputs_or_text, tokenizer, target, positions)
    subject = Subject(model)
    sites = _sites(subject, examples, kinds)
    with instrument(model, rules) as lrp:
        traces = [traced(subject, lrp, each, sites) for each in examples.each]
        carried = carried_by(sites, examples.each, traces)
        traces = [trace.without_activations() for trace in traces]
        kept = select_nodes(carried, share, most)
        _check_count(sum(map(len, kept)))
        table = Table(examples, traces, carried, kept, lrp.rules.complete)
        levels = [each.level for each in carried]
        del carried, kept  # as large as the cut graph
        flows = [
            flows_of(subject, lrp, example, trace, levels, table.places)
            for example, trace in zip(examples.each, traces, strict=True)
        ]
        found = table.circuit(flows, lrp)
    _check_balance(found, traces[0].coefficients[0].dtype, table.complete)
    found.meta["model"] = type(model).__name__
    targets = [trace.target for trace in traces]
    labels = target_names(model, tokenizer, chain.from_iterable(map(ids_in, targets)))
    found.meta["targets"] = [target_text(target, 0, labels) for target in targets]
    found.meta["prompt"] = inputs_or_text if isinstance(inputs_or_text, str) else ""
    found.origin = Origin(model, tokenizer, examples, kinds, target, positions)
    return found


def _sites(
    subject: Subject, examples: Examples, kinds: tuple[str, ...]
) -> Sequence[Site]:
    """Return where nodes stand, in all examples alike.

    Raises:
        ArgumentError: If the examples differ.
    """
    first, *others = [sites_of(subject, each, kinds) for each in examples.each]
    if any(found != first for found in others):
        raise ArgumentError(
            "the examples run through different layers of the model; find a circuit of "
            "each."
        )
    return first


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


def _check_model(model: object) -> None:
    """Refuse a pipeline, and all else that is no module.

    Raises:
        ArgumentError: If it is one.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"model is a {type(model).__name__}; it must be a torch.nn.Module: of a "
            "pipeline, pass its .model and tokenizer=its .tokenizer."
            f"{how_to_load(model, writes=True)}"
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
