"""Which nodes a circuit keeps: the strongest of each level, until enough is carried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .examples import Example
from .experts import Rows
from .sites import Site
from .trace import Traced

__all__ = ["Level", "levels_of", "select_nodes"]


@dataclass(frozen=True, eq=False)
class Level:
    """All nodes of a site: P roles of M nodes each, averaged over examples.

    Attributes:
        site: The site.
        groups: G, how many nodes a row has; M is G for each expert.
        relevance: [P, M] in float64.
        activation: [P, M]; of a head its length.
        present: [P, M]: which nodes ran in any example.
    """

    site: Site
    groups: int
    relevance: Tensor
    activation: Tensor
    present: Tensor

    @property
    def width(self) -> int:
        """M."""
        return self.relevance.shape[1]

    def keys(self, example: Example, traced: Traced, number: int) -> Tensor:
        """Number the nodes of an example's rows.

        Args:
            example: The example.
            traced: What its nodes carry.
            number: That of this level.

        Returns:
            [R, G]: role x M + index.
        """
        rows = traced.rows[number]
        return _keys(example, rows, self.site, self.groups, self.width)


def _keys(example: Example, rows: Rows, site: Site, groups: int, width: int) -> Tensor:
    roles = example.roles_of(rows.position.cpu(), rows.count, site.module)
    start = roles * width + rows.expert.cpu() * groups
    return start[:, None] + torch.arange(groups)


def levels_of(
    sites: Sequence[Site], examples: Sequence[Example], traces: Sequence[Traced]
) -> list[Level]:
    """Average what nodes carry over examples.

    Args:
        sites: S sites.
        examples: B examples.
        traces: What their nodes carry.

    Returns:
        S levels.
    """
    return [_level(n, site, examples, traces) for n, site in enumerate(sites)]


def _level(
    number: int,
    site: Site,
    examples: Sequence[Example],
    traces: Sequence[Traced],
) -> Level:
    groups = site.heads or traces[0].activations[number].shape[1]
    experts = 1 + max(int(t.rows[number].expert.max()) for t in traces)
    width = groups * experts
    keys = [
        _keys(e, t.rows[number], site, groups, width)
        for e, t in zip(examples, traces, strict=True)
    ]
    size = (max(int(k.max()) for k in keys) // width + 1) * width
    relevance, activation, ran = torch.zeros(3, size, dtype=torch.float64)
    for key, traced in zip(keys, traces, strict=True):
        a = traced.activations[number].cpu().double()
        c = traced.coefficients[number].cpu().double()
        shape = (len(a), groups, -1)
        relevance.index_add_(0, key.flatten(), (a * c).view(shape).sum(2).flatten())
        grouped = a.view(shape)
        size_of = grouped[..., 0] if grouped.shape[2] == 1 else grouped.norm(dim=2)
        activation.index_add_(0, key.flatten(), size_of.flatten())
        ran.index_add_(0, key.flatten(), torch.ones(key.numel(), dtype=torch.float64))
    return Level(
        site,
        groups,
        (relevance / len(traces)).view(-1, width),
        (activation / ran.clamp(min=1)).view(-1, width),
        (ran > 0).view(-1, width),
    )


def select_nodes(
    levels: Sequence[Level], share: float, most: int | None
) -> list[Tensor]:
    """Select nodes.

    Args:
        levels: S levels.
        share: How much of a level's absolute relevance its nodes are to carry.
        most: How many nodes there are at most, over all levels; None for any number.

    Returns:
        S times the kept nodes' keys, in their order.
    """
    kept = [_enough(level, share) for level in levels]
    if most is not None and sum(map(len, kept)) > most:
        sizes = [
            level.relevance.flatten()[k].abs()
            for level, k in zip(levels, kept, strict=True)
        ]
        limit = torch.cat(sizes).sort(descending=True, stable=True)
        chosen = torch.zeros(len(limit.values), dtype=torch.bool)
        chosen[limit.indices[:most]] = True
        parts = torch.split(chosen, [len(k) for k in kept])
        kept = [k[part] for k, part in zip(kept, parts, strict=True)]
    return [k.sort().values for k in kept]


def _enough(level: Level, share: float) -> Tensor:
    """Return the fewest nodes that carry a share of their level."""
    present = level.present.flatten().nonzero().flatten()
    if share >= 1:
        return present
    sizes, order = (
        level.relevance.flatten()[present].abs().sort(descending=True, stable=True)
    )
    carried = sizes.cumsum(0)
    count = int((carried < share * carried[-1]).sum()) + 1
    return present[order[:count]][sizes[:count] > 0]
