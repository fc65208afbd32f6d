"""Attention flow: maximum flows through the layers, solved by networkx."""

from __future__ import annotations

import torch
from torch import Tensor

from ..support.extras import require
from .attention import AttentionRollout
from .rollout import normalised

__all__ = ["AttentionFlow"]


class AttentionFlow(AttentionRollout):
    """The largest flow from a query in the last layer to each input token.

    The matrices of `AttentionRollout` are capacities of edges between layers (Abnar &
    Zuidema 2020, section 3). One maximum-flow problem a token: slow, for short texts.
    """

    method = "attention_flow"

    def joint(self, layers: Tensor, rows: Tensor) -> Tensor:
        """Solve the flow problems of the rows that are read.

        Args:
            layers: [L, B, T, T].
            rows: Boolean [B, T].

        Returns:
            [B, T, T]; the rows asked for sum to 1, the others are 0.
        """
        flows = torch.zeros_like(layers[0])
        for row, query in rows.nonzero().tolist():
            flows[row, query] = _flow(layers[:, row], query)
        return normalised(flows)


def _flow(layers: Tensor, query: int) -> Tensor:
    """Return the maximum flow from a query to every input token, [T]."""
    networkx = require("networkx", "flow", "method='attention_flow'")
    source = (len(layers), query)
    graph = networkx.DiGraph()
    graph.add_node(source)
    # A flow from one query to one token passes no other row above, no other column
    # below: without those the problems are a third as large.
    layers = layers.clone()
    layers[-1, torch.arange(layers.shape[1]) != query] = 0
    for layer, above, below in layers[1:].nonzero().tolist():
        capacity = _units(layers[layer + 1, above, below])
        graph.add_edge((layer + 2, above), (layer + 1, below), capacity=capacity)
    flows = []
    for token, column in enumerate(layers[0].T):
        sink = (0, token)
        graph.add_node(sink)
        for above in column.nonzero()[:, 0].tolist():
            graph.add_edge((1, above), sink, capacity=_units(column[above]))
        flows.append(networkx.maximum_flow_value(graph, source, sink) / _UNIT)
        graph.remove_node(sink)
    return layers.new_tensor(flows)


_UNIT = 1 << 60
"""Flows are whole numbers of parts: where a sum rounds, the algorithm may not end."""


def _units(capacity: Tensor) -> int:
    return int(float(capacity) * _UNIT)
