"""RMSNorm in any spelling: R(x_i) = R(y_i).

y_i = x_i w_i / rms(x) with the scale frozen is a product with a constant
(Achtibat et al. 2024, Prop. 3.4), whatever the code that computes it.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..engine import LeafRule, pass_through, slope
from .activation import NOT_A_FUNCTION

__all__ = ["FrozenRMS", "looks_like_rms_norm"]


class FrozenRMS(LeafRule):
    """R(x_i) = R(y_i): with its scale frozen, RMSNorm is a product with a constant.

    Taken as a whole, since models compute it in float32 whatever their dtype.
    """

    def relevance(
        self, module: nn.Module, x: Tensor, y: Tensor, grad: Tensor
    ) -> Tensor:
        """Return ``grad * y/x``.

        Args:
            module: The module.
            x: Its input.
            y: Its output.
            grad: The gradient for the output.

        Returns:
            The gradient for the input.
        """
        return grad * slope(x, y)

    def join(
        self, module: nn.Module, x: Tensor, y: Tensor, again: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Keep the input only.

        Args:
            module: The module.
            x: Its input.
            y: Its output.
            again: Runs the module's own forward on another ``x``.

        Returns:
            ``y`` bit for bit.
        """
        return pass_through(again, x, y)


def looks_like_rms_norm(module: nn.Module) -> bool:
    """Try a copy of a module: y/x must be one gain for every row, whatever its size.

    Args:
        module: Any module.

    Returns:
        True for RMSNorm in any spelling that is called with one tensor.
    """
    if next(module.children(), None) is not None:
        return False
    weights = list(module.parameters())
    has_gain = len(weights) == 1 == weights[0].ndim
    if (weights and not has_gain) or next(module.buffers(), None) is not None:
        return False
    width = weights[0].shape[0] if weights else 8
    if type(module).__module__.startswith("torch.nn.") or not _takes_one(module):
        return False
    double, cpu = torch.float64, torch.device("cpu")  # whatever the default is
    x = torch.linspace(-2.0, 1.7, 2 * width, dtype=double, device=cpu).cos()
    x = x.view(2, width)
    try:
        function = copy.deepcopy(module).to(x).forward
        with torch.no_grad(), torch.random.fork_rng(devices=[]), cpu:
            y, larger = function(x), function(2 * x)
    except NOT_A_FUNCTION:
        return False
    if (
        not isinstance(y, Tensor)
        or y.shape != x.shape
        or not torch.allclose(y, larger, rtol=1e-3, atol=1e-6)
    ):
        return False
    gain = y / x * x.square().mean(-1, keepdim=True).sqrt()
    return torch.allclose(gain[0], gain[1], rtol=1e-3, atol=1e-6)


def _takes_one(module: nn.Module) -> bool:
    try:
        return len(inspect.signature(module.forward).parameters) == 1
    except (TypeError, ValueError):  # builtins have no signature
        return False
