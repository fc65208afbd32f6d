"""`intervene`: set neurons and heads of a model while it runs."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.subject import Subject
from ..errors import ArgumentError
from .experts import Rows
from .nodes import Node
from .sites import Site
from .watching import acting

__all__ = ["intervene"]


@contextmanager
def intervene(
    model: nn.Module, values: Mapping[Node, float | Tensor]
) -> Generator[nn.Module]:
    """Set neurons and heads of a model in every call, in this thread, until the end.

    Interventions nest; of two on one node, the inner one counts. The model is left as
    it was, whatever happens inside.

    Args:
        model: The model, instrumented or not.
        values: What each node is set to: a number, or a tensor, for a head [D], or one
            for each example, [B]. A node's position is counted from the start of each
            example.

    Yields:
        The model.

    Raises:
        ArgumentError: If a node is none of this model's, or cannot be set so.
    """
    if not isinstance(values, Mapping):
        raise ArgumentError(
            f"values is a {type(values).__name__}; it must be a mapping such as "
            "{node: 0.0}."
        )
    subject = Subject(model)
    by_site: dict[Site, list[tuple[Node, Any]]] = {}
    for node, value in values.items():
        by_site.setdefault(_site(subject, node), []).append((node, value))
    sites = list(by_site)

    def act(number: int, x: Tensor, rows: Rows) -> Tensor:
        fresh = x.clone()
        for node, value in by_site[sites[number]]:
            _set(fresh, rows, sites[number], node, value)
        return fresh

    with acting(subject, sites, act):
        yield model


def _site(subject: Subject, node: Node) -> Site:
    if not isinstance(node, Node):
        raise ArgumentError(
            f"values has the key {node!r}, a {type(node).__name__}; keys must be nodes "
            "of a circuit."
        )
    if node.site is None or node.index is None:
        raise ArgumentError(
            f"node {node.id!r} is a {node.kind}, which cannot be set; set neurons and "
            "heads."
        )
    if node.site.module not in subject.modules:
        raise ArgumentError(
            f"node {node.id!r} stands in {node.site.module!r}, and the model has no "
            "such module; take nodes of a circuit of this model."
        )
    if (node.kind, node.layer) != (node.site.kind, node.site.layer):
        raise ArgumentError(
            f"node {node.id!r} says {node.kind} of layer {node.layer}, and stands at "
            f"that of {node.site.kind}s {node.site.layer}; take nodes of a circuit."
        )
    return node.site


def _set(x: Tensor, rows: Rows, site: Site, node: Node, value: Any) -> None:
    """Set a node's numbers in a tensor [R, W]."""
    assert node.index is not None
    groups = site.heads or x.shape[1]
    expert, group = divmod(node.index, groups)
    position = node.position or 0
    outside = position >= rows.count
    if outside or (expert and not site.inside) or node.index < 0 or position < 0:
        raise ArgumentError(
            f"node {node.id!r} is at position {position}, index {node.index}, and "
            f"{site.module} has {rows.count} positions of {groups} {site.kind}s in "
            "this call; set nodes that it has."
        )
    width = x.shape[1] // groups
    own = (rows.position == position) & (rows.expert == expert)
    if not own.any():
        return  # another expert's rows
    place = x[own][:, group * width : (group + 1) * width]
    try:
        given = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"the value of node {node.id!r} is {value!r:.40}; it must be a number or a "
            "tensor."
        ) from error
    if width == 1 and given.ndim == 1:
        given = given[:, None]
    try:
        x[own, group * width : (group + 1) * width] = given.expand_as(place)
    except RuntimeError as error:
        raise ArgumentError(
            f"the value of node {node.id!r} has shape {tuple(given.shape)}, and it is "
            f"{tuple(place.shape)} in this call; pass a number, or that many."
        ) from error
