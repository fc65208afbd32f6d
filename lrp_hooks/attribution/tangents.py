"""Tangents of the linearised twin, pushed forward through the model's own code.

A backward pass of the twin is linear in the gradient u that it starts with: it returns
J'u. Recorded, and differentiated with respect to u itself, it returns J v for a tangent
v of what was read: the forward decomposition, of every hidden state at once, with no
second rule for any layer. Many tangents go through the recorded graph together.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..engine.foreign import nodes
from ..engine.gathering import gathering
from ..engine.splicing import is_of_rules

__all__ = ["Pushing"]


class Pushing:
    """A recorded backward pass, through which tangents go forward."""

    def __init__(
        self, outputs: Mapping[str, Tensor], inputs: Mapping[str, Tensor]
    ) -> None:
        """Record the backward pass.

        Args:
            outputs: ``{name: tensor}`` of one graph, where tangents arrive.
            inputs: ``{name: tensor}`` of it, where they start.
        """
        self.outputs = {n: y for n, y in outputs.items() if y.requires_grad}
        self.shapes = {name: y.shape for name, y in outputs.items()}
        self.inputs = dict(inputs)
        for y in self.outputs.values():
            for node in nodes(y):
                if is_of_rules(node):
                    node.recorded = True
        self.seeds = {
            name: torch.zeros_like(y, requires_grad=True)
            for name, y in self.outputs.items()
        }
        self.pulled = self._pull()

    def _pull(self) -> list[Tensor | None]:
        """Return J'u for each input, as a function of u."""
        if not self.outputs:
            return [None] * len(self.inputs)
        outputs = list(self.outputs.values())
        with torch.enable_grad(), gathering(outputs):
            return list(
                torch.autograd.grad(
                    outputs,
                    list(self.inputs.values()),
                    list(self.seeds.values()),
                    create_graph=True,
                    allow_unused=True,
                )
            )

    def push(
        self, tangents: Mapping[str, Tensor], only: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Push tangents forward.

        Args:
            tangents: ``{input: [C, *its shape]}``, C tangents of each; an input that is
                left out has none.
            only: Where they are wanted. Defaults to ``None``: at every output.

        Returns:
            ``{output: [C, *its shape]}``.
        """
        pairs = [
            (pulled, tangents[name])
            for name, pulled in zip(self.inputs, self.pulled, strict=True)
            if pulled is not None and pulled.requires_grad and name in tangents
        ]
        count = len(next(iter(tangents.values())))
        seeds = {n: u for n, u in self.seeds.items() if only is None or n in only}
        found: Sequence[Tensor | None] = [None] * len(seeds)
        if pairs and seeds:
            starts, given = map(list, zip(*pairs, strict=True))
            found = self._differentiate(starts, given, list(seeds.values()))
        arrived = dict(zip(seeds, found, strict=True))
        like = next(iter(self.inputs.values()))
        return {
            name: like.new_zeros(count, *shape) if tangent is None else tangent
            for name, shape in self.shapes.items()
            if only is None or name in only
            for tangent in [arrived.get(name)]
        }

    @staticmethod
    def _differentiate(
        pulled: list[Tensor], tangents: list[Tensor], seeds: list[Tensor]
    ) -> Sequence[Tensor | None]:
        with warnings.catch_warnings(), gathering(pulled):
            # Where autograd has no batched form of a kernel, torch calls it for each.
            warnings.filterwarnings(
                "ignore", "There is a performance drop", UserWarning
            )
            found: Sequence[Tensor | None] = torch.autograd.grad(
                pulled,
                seeds,
                tangents,
                retain_graph=True,
                allow_unused=True,
                is_grads_batched=True,
            )
        return found
