"""Activations: R(x) = R(f(x)), or nothing for a gate that is open at zero.

The slope f(x)/x is frozen, so an element-wise function passes relevance unchanged
(Achtibat et al. 2024, eq. 9; DecompX's zero-offset approximation, Modarressi et al.
2023, eq. 10). Where f(0) is not 0 the slope has a pole: such a function (sigmoid,
softplus, exp) is a gate, and a gate is frozen.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..engine import (
    FunctionTable,
    LeafRule,
    carries,
    freeze,
    pass_through,
    register,
    register_shape,
    set_role,
    spellings,
    table,
    watch_gate,
)
from .composite import CLAMPS, clamped

__all__ = ["NOT_A_FUNCTION", "Activation"]

FUNCTIONS = spellings(
    """
    relu relu6 gelu silu mish tanh elu selu celu leaky_relu hardtanh hardswish
    hardshrink softshrink threshold prelu sigmoid hardsigmoid softplus log_sigmoid logit
    exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan arctan sinh cosh
    asinh acosh atanh erf erfc erfinv expit sinc lgamma digamma abs absolute round
    floor ceil trunc fix frac sign sgn nan_to_num deg2rad rad2deg
    fake_quantize_per_tensor_affine
    """,
    F.softsign,
)
RANDOM = spellings("rrelu")
MODULES = (
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.Hardshrink,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,
    nn.LeakyReLU,
    nn.LogSigmoid,
    nn.Mish,
    nn.PReLU,
    nn.RReLU,
    nn.ReLU,
    nn.ReLU6,
    nn.SELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Softplus,
    nn.Softshrink,
    nn.Softsign,
    nn.Tanh,
    nn.Tanhshrink,
    nn.Threshold,
    "transformers.activations.XIELUActivation",
)
NOT_A_FUNCTION = (
    TypeError,
    ValueError,
    RuntimeError,
    LookupError,
    AttributeError,
    AssertionError,
)
"""What a module may raise that is not a function of one tensor."""
_ZERO = 1e-5
"""What |f(0)| may be for f to count as a function through zero: rounding, no gate."""


class Activation(LeafRule):
    """R(x) = R(f(x)); a function with f(0) != 0 is a gate and frozen."""

    def __init__(self, unchanged: bool = True) -> None:
        """Choose between the rule and the plain gradient.

        Args:
            unchanged: Pass relevance unchanged; otherwise the plain gradient.
        """
        self.unchanged = unchanged

    def relevance(
        self, module: nn.Module, x: Tensor, y: Tensor, grad: Tensor
    ) -> Tensor:
        """Not called: `join` keeps less than ``x`` and ``y``.

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
        """Freeze the slope of an activation module, or the whole of a gate.

        Args:
            module: The module.
            x: Its input.
            y: Its output, in the shape of ``x``.
            again: Runs the module's own forward on another ``x``.

        Returns:
            ``y`` bit for bit.
        """
        if not self.unchanged:
            return y
        if _open_at_zero(again, x, module):
            gate = set_role(freeze(y), "gate")
            watch_gate(gate, x, type(module).__name__)
            return gate
        return set_role(pass_through(again, x, y), "activated")

    def functions(self, module: nn.Module | None) -> FunctionTable:
        """Return the table of element-wise functions.

        Args:
            module: Unused.

        Returns:
            The function table.
        """
        if not self.unchanged:
            return table([*FUNCTIONS, *CLAMPS, *RANDOM], None)
        return {
            **table(FUNCTIONS, _activate),
            **table(CLAMPS, _clamp),
            **table(RANDOM, _random),
        }


def _activate(func: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
    # What else shapes the function is part of its slope.
    args = tuple(freeze(a) if carries(a) else a for a in args)
    kwargs = {key: freeze(a) if carries(a) else a for key, a in kwargs.items()}
    if not carries(x):
        return func(x, *args, **kwargs)
    function = partial(_apply, func, args, kwargs)
    is_open = _open_at_zero(function, x, _key(func, args, kwargs))
    with torch.no_grad():
        y = func(x, *args, **kwargs)
    if is_open:
        gate = set_role(y, "gate")
        watch_gate(gate, x, func.__name__)
        return gate
    return set_role(pass_through(function, x, y), "activated")


def _clamp(func: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
    by_signal = any(map(carries, (*args, *kwargs.values())))
    return (clamped if by_signal else _activate)(func, x, *args, **kwargs)


def _random(func: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
    """A slope that is drawn anew in every call: its own gradient is the secant."""
    y = func(x, *args, **kwargs)
    return set_role(y, "activated") if carries(y) else y


def _apply(func: Callable[..., Any], args: Any, kwargs: Any, x: Tensor) -> Tensor:
    result: Tensor = func(x, *args, **kwargs)
    return result


_known_open: dict[Any, bool] = {}
_known_modules: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def _open_at_zero(
    function: Callable[[Tensor], Tensor], x: Tensor, key: Any = None
) -> bool:
    """Tell whether f(0) is not 0; ``key`` remembers the answer."""
    known: Any = _known_modules if isinstance(key, nn.Module) else _known_open
    if key is not None and key in known:
        return bool(known[key])
    with torch.no_grad():
        try:
            at_zero = function(x.new_zeros(1))
        except RuntimeError:  # a parameter per channel needs the whole shape
            at_zero = function(torch.zeros_like(x))
    is_open = not bool((at_zero.abs() <= _ZERO).all())
    if key is not None:
        known[key] = is_open
    return is_open


def _key(func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Identify a function that has no other arguments than numbers."""
    given = (*args, *kwargs.values())
    plain = all(
        value is None or isinstance(value, int | float | str) for value in given
    )
    return (func, args, *kwargs.items()) if plain else None


def _holds_any(module: nn.Module) -> bool:
    held = (module._modules, module._parameters, module._buffers)
    return any(value is not None for table in held for value in table.values())


def _is_element_wise(module: nn.Module) -> bool:
    """Recognise an activation of unknown type: no state, no parts, works by element."""
    if type(module).__module__.startswith("torch.nn."):
        return False
    if _holds_any(module):
        return False
    if module not in _tried:
        _tried[module] = _works_by_element(module)
    return _tried[module]


_tried: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def _works_by_element(module: nn.Module) -> bool:
    """Try a copy of a module on five numbers, in part and reordered."""
    cpu = torch.device("cpu")  # whatever the default is
    x = torch.tensor([-1.7, -0.4, 0.3, 0.9, 2.1], device=cpu)
    order = torch.tensor([3, 0, 4, 1, 2], device=cpu)
    try:
        function = copy.deepcopy(module).forward
        with torch.no_grad(), torch.random.fork_rng(devices=[]), cpu:
            y = function(x)
            return (
                isinstance(y, Tensor)
                and y.shape == x.shape
                and torch.equal(function(x[order]), y[order])
                and torch.allclose(function(x[:2]), y[:2])
                and not torch.equal(y, x)
            )
    except NOT_A_FUNCTION:
        return False


register(*MODULES, family="activation")
register_shape("activation", "an element-wise leaf", _is_element_wise)
