"""Graphs: nodes of all examples in one tensor, and which graph each belongs to."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["NO_NODES", "owner_of_edges", "owner_of_nodes"]

EDGES, OWNER = ("edge_index", "hyperedge_index"), "batch"
NO_NODES = ("y", "edge_weight")
"""Floats of graphs that are no content: what is to be predicted, and who is whose."""


def owner_of_nodes(tensors: Mapping[str, Tensor], main: Tensor) -> Tensor | None:
    """Tell which graph each node belongs to.

    Args:
        tensors: The inputs by name.
        main: The nodes, [N, ...].

    Returns:
        [N]; all 0 where there is one graph. None where inputs are no graphs.
    """
    if not any(name in tensors for name in EDGES) or not main.ndim:
        return None
    nodes = len(main)
    owner = tensors.get(OWNER)
    if owner is None or owner.shape != (nodes,) or owner.is_floating_point():
        return torch.zeros(nodes, dtype=torch.int64)
    return owner.cpu().long()


def owner_of_edges(tensors: Mapping[str, Tensor], owner: Tensor) -> Tensor:
    """Tell which graph each edge belongs to.

    Args:
        tensors: The inputs by name.
        owner: That of each node.

    Returns:
        [E].
    """
    edges = next(tensors[name] for name in EDGES if name in tensors)
    return owner[edges[0].cpu()]
