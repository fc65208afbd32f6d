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
    n_layers, length = layers.shape[:2]
    graph = networkx.DiGraph()
    for layer, above, below in layers.nonzero().tolist():
        capacity = float(layers[layer, above, below])
        graph.add_edge((layer + 1, above), (layer, below), capacity=capacity)
    source = (n_layers, query)
    flows = [
        networkx.maximum_flow_value(graph, source, (0, token))
        if (0, token) in graph
        else 0.0
        for token in range(length)
    ]
    return layers.new_tensor(flows)
