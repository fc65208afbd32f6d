"""Circuits as attribution graphs, in the files that others' front ends read.

The format is that of Anthropic's attribution graphs (Ameisen et al. 2025), which
circuit-tracer writes and Neuronpedia shows: ``metadata``, ``qParams``, ``nodes`` and
``links``. What a transcoder's feature is there, a neuron or a head is here; what was
not kept stands where their reconstruction errors do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .nodes import CONSTANT, OUTPUT, REST, TOKEN, Edge, Node

__all__ = ["attribution_graph"]

_TYPES = {
    TOKEN: "embedding",
    CONSTANT: "embedding",
    REST: "mlp reconstruction error",
    OUTPUT: "logit",
    "neuron": "cross layer transcoder",
    "head": "cross layer transcoder",
}
"""The feature types that front ends draw."""


def attribution_graph(
    nodes: Sequence[Node],
    edges: Sequence[Edge],
    tokens: Sequence[str],
    slug: str,
    scan: str,
    prompt: str,
) -> dict[str, Any]:
    """Write a circuit as an attribution graph.

    Args:
        nodes: Its nodes.
        edges: Its edges.
        tokens: What stands at each position.
        slug: The graph's short name.
        scan: The name of the model.
        prompt: The text, if it is known.

    Returns:
        What JSON can express.
    """
    layers = 1 + max((n.layer for n in nodes if n.layer is not None), default=-1)
    names = {node.id: _name(node, layers, len(tokens)) for node in nodes}
    return {
        "metadata": {
            "slug": slug,
            "scan": scan,
            "transcoder_list": [],
            "prompt_tokens": list(tokens),
            "prompt": prompt or "".join(tokens),
            "node_threshold": None,
            "schema_version": 1,
        },
        "qParams": {
            "pinnedIds": [],
            "supernodes": [],
            "linkType": "both",
            "clickedId": "",
            "sg_pos": "",
        },
        "nodes": [_node(node, names[node.id], layers, len(tokens)) for node in nodes],
        "links": [
            {
                "source": names[edge.source],
                "target": names[edge.target],
                "weight": edge.flow,
            }
            for edge in edges
        ],
    }


def _name(node: Node, layers: int, length: int) -> str:
    """Return ``layer_feature_position``; heads and rests are told apart by a suffix."""
    layer, feature = _layer(node, layers), _feature(node)
    name = f"{layer}_{feature}_{_position(node, length)}"
    return name if node.kind in {TOKEN, OUTPUT, "neuron"} else f"{name}_{node.id}"


def _layer(node: Node, layers: int) -> str:
    if node.kind == OUTPUT:
        return str(layers)
    return "E" if node.layer is None else str(node.layer)


def _feature(node: Node) -> int:
    if node.index is not None:
        return node.index
    return -1 if node.kind in {REST, CONSTANT} else node.position or 0


def _position(node: Node, length: int) -> int:
    """Return a position; what has none stands at the last one."""
    return max(0, length - 1) if node.position is None else node.position


def _node(node: Node, name: str, layers: int, length: int) -> dict[str, Any]:
    position = _position(node, length)
    return {
        "node_id": name,
        "jsNodeId": f"{name}-0",
        "feature": _feature(node),
        "layer": _layer(node, layers),
        "ctx_idx": position,
        "reverse_ctx_idx": max(0, length - 1 - position),
        "run_idx": 0,
        "feature_type": _TYPES[node.kind],
        "token_prob": 0.0,
        "is_target_logit": node.kind == OUTPUT,
        "clerp": _words(node),
        "influence": node.relevance,
        "activation": node.activation,
    }


def _words(node: Node) -> str:
    """Describe a node."""
    if node.kind == TOKEN:
        return node.token or f"input {node.position}"
    if node.site is not None:
        return f"{node.kind} {node.layer}.{node.index} at {node.token or node.position}"
    return node.id if node.layer is None else f"rest of {node.id.partition(':')[2]}"
