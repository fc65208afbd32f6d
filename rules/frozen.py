"""A layer whose output is a gate: no relevance flows through it.

MambaLRP (Rezaei Jafari et al. 2024, section 4) takes a selective state space's B, C and
step size for constants. One linear layer makes them, and that layer is the place to say
so: ``overrides={"*.x_proj": Frozen()}``.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ..engine import LeafRule, freeze

__all__ = ["Frozen"]


class Frozen(LeafRule):
    """R(x) = 0: what the layer returns is constant, and others take its share."""

    def relevance(
        self, module: nn.Module, x: Tensor, y: Tensor, grad: Tensor
    ) -> Tensor:
        """Not called: `join` leaves nothing to go back through.

        Args:
            module: The module.
            x: Its input.
            y: Its output.
            grad: The gradient for the output.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError

    def join(
        self, module: nn.Module, x: Tensor, y: Tensor, again: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Return the output without a graph.

        Args:
            module: The module.
            x: Its input.
            y: Its output.
            again: Unused.

        Returns:
            ``y`` bit for bit.
        """
        return freeze(y)
