"""What flows out of the nodes of a level, given the gradient behind them.

A node's flow is a linear function of the gradient of what the layer behind the level
returned, <a W, g>: a few kept nodes need no product with all weights. That a layer does
so under the rules in force is checked by numbers; else its own backward is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..engine.sources import SourceCollector
from ..engine.subject import Subject
from ..generation.batched import Noting, gradients_of_each
from .sites import Site
from .trace import Cut

__all__ = ["Part", "Places", "parts_of"]

FEW = 512
"""Kept nodes of a level, with their positions, that are looked at one by one."""


@dataclass(frozen=True, eq=False)
class Places:
    """Where nodes stand in a table of flows.

    Attributes:
        inputs: What each role of the input is: [N] columns; of an example, each place.
        constant: The column of constants.
        owners: For each level, of each key its column: a node's own, or the rest's.
        rests: For each level the column of what was not kept; -1 where all was.
        output: The column of the output.
    """

    inputs: Tensor
    constant: int
    owners: list[Tensor]
    rests: list[int]
    output: int


@dataclass(eq=False)
class Part:
    """The leaves of a level, and what flows out of it.

    Attributes:
        number: The level's.
        leaves: What gradients are asked for.
        columns: The column of each node, [R, G].
        rest: The column of what was not kept.
        constant: That of constants.
        leaving: What the level hands on, [R, W].
        behind: What the layer behind it makes of that; None where it is not cut off.
    """

    number: int
    leaves: list[Tensor]
    columns: Tensor
    rest: int
    constant: int
    leaving: list[Tensor]
    behind: Tensor | None = None
    short: Short | None = None

    def enter(
        self, found: Tensor, grads: Sequence[Tensor], collector: Noting
    ) -> list[tuple[str, Tensor]]:
        """Enter what flows to C targets.

        Args:
            found: [C, nodes], which is added to.
            grads: The gradients of the leaves, [C, ...] each.
            collector: Where rules enter sources.

        Returns:
            What was noted of constants.
        """
        if self.behind is None:
            self.add(found, grads)
            return []
        if self.short is not None:
            self.short.add(found, grads[0], self.rest, self.constant)
            return []
        inner, noted = gradients_of_each(self.behind, self.leaving, grads[0], collector)
        self.add(found, inner)
        return noted

    def add(self, found: Tensor, grads: Sequence[Tensor]) -> None:
        """Sum a x g by node.

        Args:
            found: [C, nodes], which is added to.
            grads: The gradients of `leaving`, [C, R, W] together.
        """
        values = torch.cat([leaf.detach() for leaf in self.leaving]).double()
        flow = torch.cat(list(grads), 1).double().mul_(values)
        if flow.shape[2] != self.columns.shape[1]:
            flow = flow.view(*flow.shape[:2], self.columns.shape[1], -1).sum(-1)
        found.index_add_(1, self.columns.flatten(), flow.flatten(1).cpu())


@dataclass(frozen=True, eq=False)
class Short:
    """What single nodes add to what the layer behind them returns.

    Attributes:
        rows: The row of each of N parts of kept nodes, [N].
        columns: Their columns, [N].
        parts: What they add, [N, D].
        whole: What all nodes add, [R, D].
        bias: What is added besides, [D].
    """

    rows: Tensor
    columns: Tensor
    parts: Tensor
    whole: Tensor
    bias: Tensor

    def add(self, found: Tensor, grad: Tensor, rest: int, constant: int) -> None:
        """Enter what flows to C targets, given the gradients [C, ..., D]."""
        grad = grad.flatten(1, -2).double()
        own = torch.einsum("cnd,nd->cn", grad[:, self.rows], self.parts).cpu()
        found.index_add_(1, self.columns, own)
        total = torch.einsum("crd,rd->c", grad, self.whole).cpu()
        if rest >= 0:
            found[:, rest] += total - own.sum(1)
        found[:, constant] += torch.einsum("crd,d->c", grad, self.bias).cpu()


def parts_of(
    subject: Subject,
    graph: Cut,
    sites: Sequence[Site],
    columns: Sequence[Tensor],
    places: Places,
) -> list[Part]:
    """Take a cut graph apart.

    Args:
        subject: The instrumented model.
        graph: The graph.
        sites: Its sites.
        columns: The column of each node of a level, [R, G].
        places: Where nodes stand in the table.

    Returns:
        The levels that anything flows through.
    """
    parts = []
    for number, leaving in enumerate(graph.leaving):
        if not leaving:
            continue
        pair, rest = graph.behind[number], places.rests[number]
        leaves = leaving if pair is None else [pair[1]]
        behind = None if pair is None else pair[0]
        part = Part(number, leaves, columns[number], rest, places.constant, leaving)
        if behind is not None:
            part.behind = behind
            part.short = _short(subject.module("module", sites[number].module), part)
            if not _is_right(part, places.output + 1, graph.forward.collector):
                part.short = None
        parts.append(part)
    return parts


def _short(layer: nn.Module, part: Part) -> Short | None:
    """See what single nodes add, where they are few."""
    assert part.behind is not None
    rows, groups = (part.columns != part.rest).nonzero(as_tuple=True)
    if len(rows) > FEW:
        return None
    x = torch.cat([leaf.detach() for leaf in part.leaving])
    width = x.shape[1] // part.columns.shape[1]
    own = torch.arange(x.shape[1]) // width == groups[:, None]
    alone = torch.where(own.to(x.device), x[rows.to(x.device)], 0.0)
    with torch.no_grad():
        made = layer(torch.cat([alone, torch.zeros_like(x[:1])])[None])[0]
    y = part.behind.detach().reshape(-1, made.shape[-1]).double()
    bias = made[-1].double()
    if len(y) != len(x):
        return None
    own_columns = part.columns[rows, groups]
    return Short(rows, own_columns, made[:-1].double() - bias, y - bias, bias)


def _is_right(part: Part, size: int, collector: SourceCollector) -> bool:
    """Tell whether the short way brings what the layer's own backward does."""
    if part.short is None or part.behind is None or not isinstance(collector, Noting):
        return False
    seed = torch.cos(torch.arange(part.behind.numel(), device=part.behind.device))
    grad = seed.to(part.behind).view(1, *part.behind.shape)
    short, long = torch.zeros(2, 1, size, dtype=torch.float64)
    part.short.add(short, grad, part.rest, part.constant)
    inner, noted = gradients_of_each(part.behind, part.leaving, grad, collector)
    part.add(long, inner)
    for _, terms in noted:
        long[:, part.constant] += terms.double().sum().cpu()
    scale = float((grad * part.behind.detach()).double().abs().sum())
    eps = torch.finfo(part.behind.dtype).eps
    return bool((short - long).abs().max() <= eps**0.75 * scale)
