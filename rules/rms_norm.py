"""RMSNorm in any spelling: R(x_i) = R(y_i).

y_i = x_i w_i / rms(x) with the scale frozen is a product with a constant
(Achtibat et al. 2024, Prop. 3.4), whatever the code that computes it.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

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
    if type(module).__module__.startswith("torch.nn.") or _is_any(module.children()):
        return False
    described = _described(module)
    if described is None:
        return _scales_rows(module)
    known = _tried.setdefault(type(module), {})
    if described not in known:
        known[described] = _scales_rows(module)
    return known[described]


_tried: WeakKeyDictionary[type, dict[Any, bool]] = WeakKeyDictionary()
"""What came of modules that differ in nothing but the values of their gain."""


def _described(module: nn.Module) -> Any:
    """Describe a module but for its gain; None where more than numbers shapes it."""
    own = [(k, v) for k, v in vars(module).items() if k not in _OF_ALL]
    buffers = [buffer for buffer in module._buffers.values() if buffer is not None]
    if buffers or not all(type(v) in _NUMBERS for _, v in own):
        return None
    # What a class has may be changed after a module of it was tried.
    classes = [k for k in type(module).__mro__ if k not in nn.Module.__mro__]
    shared = [item for kind in classes for item in vars(kind).items()]
    kept = [(k, v) for k, v in shared if type(v) in _NUMBERS | _FUNCTIONS]
    shapes = [(n, p.shape) for n, p in module._parameters.items() if p is not None]
    numbers = [(k, type(v), v) for k, v in own + kept]
    return module.training, *shapes, *numbers


_NUMBERS = {type(None), bool, int, float, str}
_FUNCTIONS = {FunctionType, staticmethod, classmethod, property}
_OF_ALL = frozenset(vars(nn.Module()))
"""What every module has, its training flag and its tensors among them."""


def _scales_rows(module: nn.Module) -> bool:
    """Try a copy of a module that has no parts."""
    weights = list(module.parameters())
    has_gain = len(weights) == 1 == weights[0].ndim
    if (weights and not has_gain) or _is_any(module.buffers()):
        return False
    width = weights[0].shape[0] if weights else 8
    if not _takes_one(module):
        return False
    double, cpu = torch.float64, torch.device("cpu")  # whatever the default is
    x = torch.linspace(-2.0, 1.7, 2 * width, dtype=double, device=cpu).cos()
    x = x.view(2, width)
    try:
        function = _forward_with(module, x)
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


def _is_any(found: Iterator[Any]) -> bool:
    return next(found, None) is not None


def _forward_with(module: nn.Module, x: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the forward of a copy with some gain, where the module's may be away."""
    hook = getattr(module, "_hf_hook", None)  # accelerate's, which brings weights
    memo: dict[int, object] = {} if hook is None else {id(hook): hook}
    for weight in module.parameters():
        gain = torch.linspace(0.5, 1.5, weight.shape[0], dtype=x.dtype, device=x.device)
        memo[id(weight)] = nn.Parameter(gain, weight.requires_grad)
    return _own_forward(copy.deepcopy(module, memo).to(x))


def _own_forward(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a module's forward without what brings or spreads its weights."""
    spreads = getattr(module.__dict__.get("forward"), "__module__", None) or ""
    if hasattr(module, "_hf_hook") or spreads.startswith("transformers.distributed"):
        return MethodType(type(module).forward, module)
    return module.forward


def _takes_one(module: nn.Module) -> bool:
    try:
        return len(inspect.signature(_own_forward(module)).parameters) == 1
    except (TypeError, ValueError):  # builtins have no signature
        return False
