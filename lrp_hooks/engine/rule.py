"""The shapes of a rule: how relevance passes through one kind of module."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import RegistrationError, RuleError
from .autograd import clear_of_zero
from .splicing import splice

__all__ = ["FunctionTable", "LeafRule", "Rule", "ScopeRule", "as_rule", "joining"]

FunctionTable = Mapping[Callable[..., Any], Callable[..., Any] | None]
"""``{torch function: replacement}``; None leaves the function to autograd."""

_kept = threading.local()


class Rule:
    """How relevance passes through a module, or through functions inside it.

    Rules are stateless: one instance serves many modules and threads. Use one of the
    two shapes, `LeafRule` or `ScopeRule`.

    Attributes:
        overwrites: Whether replacements are called with in-place functions and make the
            write themselves. Otherwise they are called with the twin that returns
            something new (``exp`` for ``exp_``), and the engine writes the result.
        batch_dim: Of a rule of a whole model: which axis of its inputs counts the
            examples, where nobody says it.
    """

    overwrites: ClassVar[bool] = False
    batch_dim: ClassVar[int] = 0

    def functions(self, module: nn.Module | None) -> FunctionTable:
        """Name the torch functions that have another backward inside the module.

        Args:
            module: The module whose forward is running; None for a layer family's
                rule, which holds in the whole model.

        Returns:
            ``{torch function: replacement}``. A replacement is called as
            ``replacement(func, *args, **kwargs)``; None leaves it to autograd.
        """
        return {}

    def at(self, module: nn.Module) -> Rule:
        """Return the rule to use at a module; a family's rule may have several forms.

        Args:
            module: A module that this rule was found for.

        Returns:
            This rule, by default.
        """
        return self

    def __repr__(self) -> str:
        """Return the class name and its settings."""
        settings = ", ".join(f"{k}={v!r}" for k, v in vars(self).items())
        return f"{type(self).__name__}({settings})"


def as_rule(rule: Any) -> Rule:
    """Take a rule, or make one of a rule class.

    Args:
        rule: A `Rule` instance, or a `Rule` class that can be made without arguments.

    Returns:
        The instance.

    Raises:
        RegistrationError: If it is neither.
    """
    if isinstance(rule, type) and issubclass(rule, Rule):
        return rule()
    if isinstance(rule, Rule):
        return rule
    raise RegistrationError(
        f"{rule!r} is no rule; it must be a LeafRule or ScopeRule, or its class."
    )


class ScopeRule(Rule):
    """Functions inside a module: override `functions`.

    For attention, gated products, routers, and any composite module: while the
    module's forward runs, the torch functions named by `functions` are replaced, and
    whatever the module calls in turn is too, unless an inner rule says otherwise.
    """


class LeafRule(Rule):
    """Splice: the module runs as it is, and its output gets a backward of the rule.

    The module's first tensor argument is its input ``x``, the first tensor it returns
    its output ``y``.
    """

    def relevance(
        self, module: nn.Module, x: Tensor, y: Tensor, grad: Tensor
    ) -> Tensor:
        """Return the gradient for the input.

        Relevance is gradient times value: the output's is ``y * grad``, the input's
        will be ``x * returned``.

        Args:
            module: The module that ran.
            x: Its input.
            y: Its output.
            grad: The gradient for the output, in the shape of ``y``.

        Returns:
            The gradient for the input, in the shape of ``x``.

        Raises:
            NotImplementedError: If the rule does not override this method.
        """
        raise NotImplementedError(f"{type(self).__name__} must define relevance()")

    def join(
        self, module: nn.Module, x: Tensor, y: Tensor, again: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Join the output to the input; `relevance` is the backward.

        Args:
            module: The module that ran.
            x: Its input.
            y: Its output.
            again: Runs the module's own forward on another ``x``.

        Returns:
            ``y`` bit for bit, recorded as a function of ``x``.
        """
        sink = getattr(_kept, "forward_sink", None)

        def backward(grad: Tensor, x: Tensor, y: Tensor) -> Tensor:
            point, output = _connected(x, y, again)
            with _reporting_to(sink):
                result = self.relevance(module, point, output, grad)
            return _checked(self, module, x, result)

        return splice(y, x, backward, x, keep_value=True)

    def source(self, name: str, tensor: Tensor) -> None:
        """Report relevance that the rule keeps, such as a bias's share.

        Call it in `relevance`; the ledger lists it under ``"<module>.<name>"``.

        Args:
            name: What keeps it, for example ``"bias"``.
            tensor: The relevance kept, in the shape of the output or of a part of it
                that starts with the batch dimension.
        """
        sink = getattr(_kept, "sink", None)
        if sink is not None:
            sink(name, tensor.detach())


@contextmanager
def joining(sink: Callable[[str, Tensor], None] | None) -> Generator[None]:
    """Say where the rules that are joined meanwhile report what they keep."""
    before = getattr(_kept, "forward_sink", None)
    _kept.forward_sink = sink
    try:
        yield
    finally:
        _kept.forward_sink = before


@contextmanager
def _reporting_to(sink: Callable[[str, Tensor], None] | None) -> Generator[None]:
    before = getattr(_kept, "sink", None)
    _kept.sink = sink
    try:
        yield
    finally:
        _kept.sink = before


def _connected(
    x: Tensor, y: Tensor, again: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Run the module again where x has zeros: the slope's limit needs the graph."""
    if x.numel() == 0 or clear_of_zero(x):
        return x.detach(), y
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        return point, again(point)


def _checked(rule: Rule, module: nn.Module, x: Tensor, grad: Any) -> Tensor:
    if not isinstance(grad, Tensor) or grad.shape != x.shape:
        came = tuple(grad.shape) if isinstance(grad, Tensor) else type(grad).__name__
        raise RuleError(
            f"{type(rule).__name__}.relevance returned {came} for a "
            f"{type(module).__name__}; it must return the gradient for x, a tensor of "
            f"shape {tuple(x.shape)}."
        )
    # Recorded where tangents are pushed forward, which transposes this.
    kept = grad if torch.is_grad_enabled() else grad.detach()
    return kept.to(x.dtype)
