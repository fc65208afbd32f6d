"""Where a model adds its constants, and bias rules that look at vectors there.

The vectors of the value before a constant decide who gets it (Modarressi et al. 2023,
eq. 5), and what they get is a part of their vectors at every later place. So constants
are shared one after the other, in the order in which they were added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...attribution.tangents import Pushing
from ...engine.autograd import carries
from ...engine.sources import SourceCollector
from .biases import RULES

__all__ = ["Sites", "share_by_vectors"]


@dataclass(frozen=True, eq=False)
class Site:
    """A constant that was added.

    Attributes:
        out: The sum, a part of the graph.
        constant: What was added, or a function that computes it.
    """

    out: Tensor
    constant: Any

    @property
    def value(self) -> Tensor:
        """The constant, in the shape of the sum."""
        constant = self.constant() if callable(self.constant) else self.constant
        return torch.as_tensor(constant).detach().to(self.out).expand_as(self.out)


class Sites(SourceCollector):
    """A collector that knows where constants were added, in order."""

    def __init__(self, batch: int, length: int | None) -> None:
        """Start with no sites.

        Args:
            batch: See `SourceCollector`.
            length: See `SourceCollector`.
        """
        super().__init__(batch, length)
        self.sites: list[Site] = []

    def watch(
        self, out: Tensor, constant: Tensor | complex | Callable[[], Tensor], name: str
    ) -> None:
        """Note a site.

        Args:
            out: See `SourceCollector.watch`.
            constant: See `SourceCollector.watch`.
            name: See `SourceCollector.watch`.
        """
        super().watch(out, constant, name)
        if carries(out):
            self.sites.append(Site(out, constant))

    @property
    def outputs(self) -> dict[str, Tensor]:
        """``{name: sum}`` of all sites."""
        return {f"constant {n}": site.out for n, site in enumerate(self.sites)}


def share_by_vectors(
    rule: str,
    sites: Sites,
    pushing: Pushing,
    parts: dict[str, Tensor],
    attended: Tensor,
) -> dict[str, Tensor]:
    """Share every constant among the sources by their vectors where it was added.

    Args:
        rule: One of `biases.RULES`.
        sites: Where constants were added.
        pushing: From what is read and from all sites to all sites.
        parts: ``{input: [K, *shape]}`` of the sources.
        attended: 0 at sources that are padding, ``[B, K]``.

    Returns:
        ``{site: [K, *shape]}``, each source's part of each constant.
    """
    found: dict[str, Tensor] = {}
    for name, site in zip(sites.outputs, sites.sites, strict=True):
        arrived = pushing.push({**parts, **found}, only=[name])[name]
        found[name] = _shared(rule, arrived, site.value, attended)
    return found


def _shared(rule: str, z: Tensor, constant: Tensor, attended: Tensor) -> Tensor:
    """Return each source's part of a constant, [K, *shape] as the vectors z are."""
    width = z.shape[-1]
    vectors = z.reshape(len(z), -1, width).transpose(0, 1)  # [n, K, W]
    flat = constant.reshape(-1, width)
    mask = attended.repeat_interleave(len(flat) // len(attended), 0)  # [n, K]
    weights = RULES[rule](vectors, flat) * mask
    total = weights.sum(-1, keepdim=True)
    # A constant that no source has anything in common with is everyone's.
    parts = torch.where(total > 0, weights / total, mask / mask.sum(-1, keepdim=True))
    return (parts.unsqueeze(-1) * flat.unsqueeze(1)).transpose(0, 1).reshape(z.shape)
