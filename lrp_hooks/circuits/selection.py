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

__all__ = ["Carried", "Level", "carried_by", "select_nodes"]


@dataclass(frozen=True)
class Level:
    """All nodes of a site: M of a position.

    Attributes:
        site: The site.
        groups: G, how many nodes a row has; M is G for each expert.
        width: M.
    """

    site: Site
    groups: int
    width: int

    def keys(self, example: Example, rows: Rows) -> Tensor:
        """Number the nodes of an example's rows.

        Args:
            example: The example.
            rows: Whose its rows are.

        Returns:
            [R, G]: role x M + index.
        """
        roles = example.roles_of(rows.position.cpu(), rows.count, self.site.module)
        start = roles * self.width + rows.expert.cpu() * self.groups
        return start[:, None] + torch.arange(self.groups)


@dataclass(frozen=True, eq=False)
class Carried:
    """What the nodes of a level carry, P roles of M nodes each: means over examples.

    Attributes:
        level: The level.
        relevance: [P, M] in float64.
        activation: [P, M]; of a head its length.
        present: [P, M]: which nodes ran in any example.
    """

    level: Level
    relevance: Tensor
    activation: Tensor
    present: Tensor


def carried_by(
    sites: Sequence[Site], examples: Sequence[Example], traces: Sequence[Traced]
) -> list[Carried]:
    """Average what nodes carry over examples.

    Args:
        sites: S sites.
        examples: B examples.
        traces: What their nodes carry.

    Returns:
        One for each of S levels.
    """
    return [_carried(n, site, examples, traces) for n, site in enumerate(sites)]


def _carried(
    number: int,
    site: Site,
    examples: Sequence[Example],
    traces: Sequence[Traced],
) -> Carried:
    groups = site.heads or traces[0].activations[number].shape[1]
    experts = 1 + _largest([t.rows[number].expert for t in traces])
    level = Level(site, groups, groups * experts)
    keys = [
        level.keys(e, t.rows[number]) for e, t in zip(examples, traces, strict=True)
    ]
    width = level.width
    size = (_largest(keys) // width + 1) * width
    relevance, activation, ran = torch.zeros(3, size, dtype=torch.float64)
    for key, traced in zip(keys, traces, strict=True):
        a = traced.activations[number].cpu().double()
        c = traced.coefficients[number].cpu().double()
        shape = (len(a), groups, a.shape[1] // groups)
        relevance.index_add_(0, key.flatten(), (a * c).view(shape).sum(2).flatten())
        grouped = a.view(shape)
        size_of = grouped[..., 0] if grouped.shape[2] == 1 else grouped.norm(dim=2)
        activation.index_add_(0, key.flatten(), size_of.flatten())
        ran.index_add_(0, key.flatten(), torch.ones(key.numel(), dtype=torch.float64))
    return Carried(
        level,
        (relevance / len(traces)).view(-1, width),
        (activation / ran.clamp(min=1)).view(-1, width),
        (ran > 0).view(-1, width),
    )


def _largest(numbers: Sequence[Tensor]) -> int:
    """Return the largest number in any; 0 where there is none."""
    return max((int(each.max()) for each in numbers if each.numel()), default=0)


def select_nodes(
    levels: Sequence[Carried], share: float, most: int | None
) -> list[Tensor]:
    """Select nodes.

    Args:
        levels: What nodes carry, for each of S levels.
        share: How much of a level's absolute relevance its nodes are to carry.
        most: How many nodes there are at most, over all levels; None for any number.

    Returns:
        S times the kept nodes' keys, in their order.
    """
    kept = [_enough(level, share, most) for level in levels]
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


def _enough(level: Carried, share: float, most: int | None) -> Tensor:
    """Return the fewest nodes that carry a share of their level, strongest first."""
    present = level.present.flatten().nonzero().flatten()
    if not len(present) or (share >= 1 and most is None):
        return present
    sizes, order = (
        level.relevance.flatten()[present].abs().sort(descending=True, stable=True)
    )
    count = len(present)
    if share < 1:
        carried = sizes.cumsum(0)
        count = int((carried < share * carried[-1]).sum()) + 1
        order = order[:count][sizes[:count] > 0]
    return present[order[:most]]
