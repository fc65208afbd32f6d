"""Memory for products that is taken up again.

Fresh memory costs as much as a tenth of the product that is written to it: the system
hands it over page by page.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["CHUNK", "Scratch"]

CHUNK = 1 << 11
"""How many vectors are multiplied at a time: a product of half as many is a tenth
slower, and what one of many more takes in memory shows beside all vectors."""


class Scratch:
    """Keeps one piece of memory for each name."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._kept: dict[str, Tensor] = {}

    def product(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        """Return the product with a layer's weight, without a graph.

        Args:
            name: Whose memory is taken up; what was there is overwritten.
            x: ``[..., in]``.
            weight: ``[out, in]``.

        Returns:
            ``x @ weight.T``, ``[..., out]``, until the next product of this name.
        """
        rows = x.numel() // x.shape[-1]
        kept = self._kept.get(name)
        if kept is None or len(kept) < rows:
            kept = self._kept[name] = x.new_empty(rows, len(weight))
        torch.mm(x.reshape(rows, -1), weight.T, out=kept[:rows])
        return kept[:rows].view(*x.shape[:-1], len(weight))
