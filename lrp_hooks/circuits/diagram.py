"""Where a circuit's nodes stand in a diagram: tokens below, layers above each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..views.circuit import Diagram, Flow, Spot
from .nodes import CONSTANT, OUTPUT, TOKEN, Edge, Node

__all__ = ["diagram", "told"]


def diagram(
    nodes: Sequence[Node],
    edges: Sequence[Edge],
    output: float,
    meta: Mapping[str, Any],
    rules: str,
) -> Diagram:
    """Place nodes: a column for each position, and one beside them for what has none.

    The output stands above the position that most of it comes from.

    Args:
        nodes: The nodes of a circuit, from below.
        edges: Its edges.
        output: What is explained.
        meta: See `Circuit`.
        rules: The name of the rule set.

    Returns:
        Plain numbers and strings.
    """
    rows: dict[tuple[str, int] | str, int] = {"inputs": 0}
    for node in nodes:
        if node.layer is not None:
            rows.setdefault(_level(node), len(rows))
    rows["output"] = len(rows)
    places = [n.position for n in nodes if n.position is not None]
    columns = max(places, default=0) + 2
    above = _above(nodes, edges, columns - 1)
    spots = [_spot(node, rows, columns - 1, above) for node in nodes]
    numbers = {node.id: number for number, node in enumerate(nodes)}
    flows = [Flow(numbers[e.source], numbers[e.target], e.flow) for e in edges]
    return Diagram(
        rows=[_words(row) for row in rows],
        columns=columns,
        spots=spots,
        flows=sorted(flows, key=lambda flow: -abs(flow.flow)),
        output=output,
        model=str(meta.get("model", "")),
        rules=rules,
        target=told(meta),
    )


def told(meta: Mapping[str, Any]) -> str:
    """Say what a circuit explains: each target once.

    Args:
        meta: See `Circuit`.

    Returns:
        Their names; empty where they are not known.
    """
    return ", ".join(dict.fromkeys(meta.get("targets", ())))


def _level(node: Node) -> tuple[str, int]:
    """Return what a node's row holds."""
    assert node.layer is not None
    kind = node.kind if node.site is not None else node.id.split(":")[1]
    return kind, node.layer


def _words(row: tuple[str, int] | str) -> str:
    return row if isinstance(row, str) else f"{row[0]}s {row[1]}"


def _above(nodes: Sequence[Node], edges: Sequence[Edge], beside: int) -> int:
    """Return the position that most of the output comes from."""
    placed = {node.id: node.position for node in nodes if node.position is not None}
    into = [e for e in edges if e.target == nodes[-1].id and e.source in placed]
    strongest = max(into, key=lambda edge: abs(edge.flow), default=None)
    return beside if strongest is None else placed[strongest.source]


def _spot(node: Node, rows: Mapping[Any, int], beside: int, above: int) -> Spot:
    if node.layer is not None:
        row = rows[_level(node)]
    else:
        row = rows["output" if node.kind == OUTPUT else "inputs"]
    column = above if node.kind == OUTPUT else node.position
    column = beside if column is None else column
    return Spot(
        row,
        column,
        node.kind,
        _label(node),
        _title(node),
        node.relevance,
        node.activation,
    )


def _label(node: Node) -> str:
    if node.kind == TOKEN:
        return node.token or str(node.position)
    if node.site is not None:
        return str(node.index)
    return {OUTPUT: "output", CONSTANT: node.id}.get(node.kind, "rest")


def _title(node: Node) -> str:
    if node.kind == TOKEN:
        return f"token {node.token or ''} at {node.position}"
    if node.site is not None:
        at = "" if node.position is None else f" at {node.position}"
        of = f" ({node.token})" if node.token else ""
        return f"{node.kind} {node.layer}.{node.index}{at}{of}"
    return node.id
