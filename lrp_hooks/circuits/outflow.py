"""What flows out of the nodes of a level, given the gradient behind them.

A node's flow is a linear function of the gradient of what the layer behind the level
returned, <a W, g>: a few kept nodes need no product with all weights. That a layer does
so under the rules in force is checked by numbers; else its own backward is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..engine.nested import first_tensor
from ..engine.subject import Subject
from ..generation.batched import Noting, gradients_of_each
from .cut import Cut, Part
from .sites import Site

__all__ = ["Columns", "Outflow", "Places", "outflows"]

FEW = 512
"""Kept nodes of a level, with their positions, that are looked at one by one."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Where the nodes of a level stand in a table of flows.

    Attributes:
        kept: The keys of nodes of their own, sorted, [K].
        first: The column of the first; the others follow.
        rest: The column of what was not kept; -1 where all was.
    """

    kept: Tensor
    first: int
    rest: int

    def of(self, keys: Tensor) -> Tensor:
        """Return the column of each key, in the shape of ``keys``."""
        if not len(self.kept):
            return torch.full_like(keys, self.rest)
        place = torch.searchsorted(self.kept, keys).clamp_(max=len(self.kept) - 1)
        return torch.where(self.kept[place] == keys, self.first + place, self.rest)


@dataclass(frozen=True, eq=False)
class Places:
    """Where nodes stand in a table of flows.

    Attributes:
        inputs: What each role of the input is: [N] columns; of an example, each place.
        constant: The column of constants.
        levels: Those of the nodes of each level.
        output: The column of the output.
    """

    inputs: Tensor
    constant: int
    levels: list[Columns]
    output: int


@dataclass(eq=False)
class Outflow:
    """How what flows out of a level is read off gradients.

    Attributes:
        part: The level's leaves and its sink.
        columns: The column of each node, [R, G]; the columns of the numbers that the
            sink reads, [N], where it does.
        constant: The column of constants.
    """

    part: Part
    columns: Tensor
    constant: int

    def enter_noted(
        self, found: Tensor, noted: Tensor, collector: Noting
    ) -> list[tuple[str, Tensor]]:
        """Enter what flows to C targets, as the sink noted it.

        Args:
            found: [C, nodes], which is added to.
            noted: What the sink noted: [C, N], or gradients [C, ...].
            collector: Where rules enter sources.

        Returns:
            What was noted of constants besides.
        """
        sink = self.part.sink
        assert sink is not None
        if sink.read is not None:
            found.index_add_(1, self.columns, noted.cpu())
            return []
        assert sink.made is not None
        inner, besides = gradients_of_each(
            [sink.made], self.part.leaving, [noted], collector
        )
        self.enter(found, inner)
        return besides

    def enter(self, found: Tensor, grads: Sequence[Tensor]) -> None:
        """Enter what flows to C targets: the sum of a x g for each node.

        Args:
            found: [C, nodes], which is added to.
            grads: The gradients of what the level hands on, [C, R, W] together.
        """
        values = torch.cat([leaf.detach() for leaf in self.part.leaving]).double()
        flow = torch.cat(list(grads), 1).double().mul_(values)
        if flow.shape[2] != self.columns.shape[1]:
            flow = flow.view(*flow.shape[:2], self.columns.shape[1], -1).sum(-1)
        found.index_add_(1, self.columns.flatten(), flow.flatten(1).cpu())

    def shorten(self, layer: nn.Module, rest: int, collector: Noting) -> None:
        """Let the sink read what single nodes add, where that is right."""
        sink = self.part.sink
        assert sink is not None
        short = _single_nodes(layer, self, rest)
        if short is not None and self._is_right(short, collector):
            sink.read, sink.made, self.columns = short, None, short.columns
            self.part.leaving.clear()

    def _is_right(self, short: _SingleNodes, collector: Noting) -> bool:
        """Tell whether the short way brings what the layer's own backward does."""
        sink = self.part.sink
        assert sink is not None and sink.made is not None
        made = sink.made
        grad = torch.cos(torch.arange(made.numel(), device=made.device)).to(made)
        grad = grad.view(1, *made.shape)
        size = 1 + max(int(self.columns.max()), self.constant)
        quick, full = torch.zeros(2, 1, size, dtype=torch.float64)
        quick.index_add_(1, short.columns, short(grad).cpu())
        for _, terms in self.enter_noted(full, grad, collector):
            full[:, self.constant] += terms.double().sum().cpu()
        # Each number by its own terms: one node's are few of all.
        sizes = torch.zeros(1, size, dtype=torch.float64)
        sizes.index_add_(1, short.columns, short.sizes(grad).cpu())
        eps = torch.finfo(made.dtype).eps
        return bool(((quick - full).abs() <= eps**0.75 * sizes).all())


@dataclass(frozen=True, eq=False)
class _SingleNodes:
    """What single nodes add to what the layer behind them returns.

    Attributes:
        rows: The row of each of N parts of kept nodes, [N].
        parts: What they add, [N, D].
        whole: What all nodes and the bias add, [R, D].
        bias: What is added besides nodes, [D].
        columns: Of the numbers that are read: N columns, the rest's where there is
            one, and that of constants.
    """

    rows: Tensor
    parts: Tensor
    whole: Tensor
    bias: Tensor
    columns: Tensor

    def __call__(self, grads: Tensor) -> Tensor:
        """Return what flows to C targets, given the gradients [C, ..., D]."""
        grads = grads.flatten(1, -2).double()
        own = torch.einsum("cnd,nd->cn", grads[:, self.rows], self.parts)
        biased = torch.einsum("crd,d->c", grads, self.bias)[:, None]
        if len(self.columns) == own.shape[1] + 1:
            return torch.cat([own, biased], 1)
        whole = torch.einsum("crd,rd->c", grads, self.whole.double())[:, None]
        return torch.cat([own, whole - biased - own.sum(1, keepdim=True), biased], 1)

    def sizes(self, grads: Tensor) -> Tensor:
        """Return the sums of the absolute terms of what flows, alike."""
        grads = grads.flatten(1, -2).double().abs()
        own = torch.einsum("cnd,nd->cn", grads[:, self.rows], self.parts.abs())
        biased = torch.einsum("crd,d->c", grads, self.bias.abs())[:, None]
        if len(self.columns) == own.shape[1] + 1:
            return torch.cat([own, biased], 1)
        every = self.whole.double().abs() + self.bias.abs()
        return torch.cat(
            [own, torch.einsum("crd,rd->c", grads, every)[:, None], biased], 1
        )


def _single_nodes(layer: nn.Module, out: Outflow, rest: int) -> _SingleNodes | None:
    """See what single nodes add, where they are few."""
    sink, columns = out.part.sink, out.columns
    assert sink is not None and sink.made is not None
    rows, groups = (columns != rest).nonzero(as_tuple=True)
    if len(rows) > FEW:
        return None
    x = torch.cat([leaf.detach() for leaf in out.part.leaving])
    made = sink.made.detach()
    if made.numel() != len(x) * made.shape[-1]:
        return None
    width = x.shape[1] // columns.shape[1]
    own = torch.arange(x.shape[1]) // width == groups[:, None]
    alone = torch.where(own.to(x.device), x[rows.to(x.device)], 0.0)
    each = _made(layer, torch.cat([alone, torch.zeros_like(x[:1])]))
    if each is None or each.shape != (len(rows) + 1, made.shape[-1]):
        return None
    rests = [] if rest < 0 else [rest]
    read = torch.tensor([*columns[rows, groups].tolist(), *rests, out.constant])
    whole = made.reshape(len(x), -1)
    return _SingleNodes(rows, each[:-1] - each[-1], whole, each[-1], read)


def _made(layer: nn.Module, rows: Tensor) -> Tensor | None:
    """Return what a layer makes of single rows, [N, D] in float64, if it takes any."""
    try:
        with torch.no_grad():
            found = first_tensor(layer(rows[None]), torch.Tensor.is_floating_point)
    except Exception:  # layers refuse what they were not made for in every way
        return None
    return None if found is None or found.ndim != 3 else found[0].double()


def outflows(
    subject: Subject,
    graph: Cut,
    sites: Sequence[Site],
    columns: Iterator[Tensor],
    places: Places,
) -> list[Outflow]:
    """See how what flows out of each level is read.

    Args:
        subject: The instrumented model.
        graph: The cut graph.
        sites: Its sites.
        columns: The column of each node of each level, [R, G] each.
        places: Where nodes stand in the table.

    Returns:
        One for each level that anything flows through.
    """
    parts = {part.number: part for part in graph.parts}
    collector = graph.forward.collector
    assert isinstance(collector, Noting)
    found = []
    for number, own in enumerate(columns):
        part = parts.get(number)
        if part is None:
            continue
        out = Outflow(part, own[part.rows], places.constant)
        if part.sink is not None:
            layer = subject.module("module", sites[number].module)
            out.shorten(layer, places.levels[number].rest, collector)
        found.append(out)
    return found
