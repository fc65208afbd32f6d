"""The hooks on one module: they open the function scope and splice in leaf rules."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import RuleError
from .autograd import carries
from .nested import first_tensor, replace_first
from .rule import LeafRule, Rule, joining
from .runtime import Runtime
from .surroundings import Frame
from .undo import Undo, undoing
from .writes import rule_table

__all__ = ["ModuleHooks"]


FUSED = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder)
"""Modules that look for function modes before they take their fused kernels."""


class ModuleHooks:
    """The forward pre-hook and the forward hook of one module.

    A copy of an instrumented model is a plain model: copies of these hooks do nothing.
    """

    def __init__(
        self,
        runtime: Runtime | None = None,
        module: nn.Module | None = None,
        name: str = "",
        rule: Rule | None = None,
    ) -> None:
        """Prepare the hooks; `attach` puts them on the module.

        Args:
            runtime: What the model's hooks share; None for hooks that do nothing.
            module: The module.
            name: Its qualified name.
            rule: Its own rule, if it has one.
        """
        self.runtime = runtime
        self.rule = rule
        leaf = isinstance(rule, LeafRule)
        functions = {} if leaf or rule is None else rule_table(rule, module)
        self.frame = Frame(module, name, functions, leaf, isinstance(module, FUSED))

    def __reduce__(self) -> Any:
        """Copy and pickle as hooks that do nothing."""
        return (ModuleHooks, ())

    def attach(self, module: nn.Module, undo: Undo) -> None:
        """Put the hooks on a module.

        Args:
            module: The module.
            undo: Where it is noted how they come off again.
        """
        if not self.frame.name or isinstance(module, nn.TransformerEncoderLayer):
            _wrap_forward(self, module, undo)
            return
        undo.hook(module, "forward_pre_hook", self.enter, with_kwargs=True)
        undo.hook(
            module, "forward_hook", self.leave, with_kwargs=True, always_call=True
        )

    def enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Open the module's scope."""
        if self.runtime is not None:
            self.runtime.enter(self.frame, (args, kwargs))

    def leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        """Close the module's scope and give a leaf's output its backward."""
        if self.runtime is None:
            return None
        scope = self.runtime.scope
        holds = self.runtime.leave(module)
        replaced = None
        if holds and self.frame.leaf and torch.is_grad_enabled():
            is_signal = carries if scope is None else scope.is_signal
            replaced = self._spliced(module, args, kwargs, output, is_signal)
        if scope is None or scope.frames:
            return replaced
        return self.runtime.guarded(module, output if replaced is None else replaced)

    def _spliced(
        self,
        module: nn.Module,
        args: Any,
        kwargs: Any,
        output: Any,
        is_signal: Callable[[Tensor], bool],
    ) -> Any:
        """Give a leaf's output its backward; None where nothing is to be done."""
        x, y = first_tensor((args, kwargs), is_signal), first_tensor(output)
        if x is None or y is None:
            return None
        if y is x:
            raise _overwritten(module, self.frame.name, self.rule)
        joined = self._join(module, args, kwargs, x, y)
        return joined if output is y else replace_first(output, y, joined)

    def _join(
        self, module: nn.Module, args: Any, kwargs: Any, x: Tensor, y: Tensor
    ) -> Tensor:
        assert isinstance(self.rule, LeafRule) and self.runtime is not None
        alone = len(args) == 1 and not kwargs and args[0] is x
        given = None if alone else replace_first((args, kwargs), x, _HOLE)

        def again(point: Tensor) -> Tensor:
            if given is None:
                args, kwargs = (point,), {}
            else:
                args, kwargs = replace_first(given, _HOLE, point)
            result = first_tensor(module.forward(*args, **kwargs))
            assert result is not None
            return result

        collector, name = self.runtime.collector, self.frame.name
        sink = None
        if collector is not None:

            def sink(kind: str, terms: Tensor) -> None:
                collector.add(f"{name}.{kind}" if name else kind, terms)

        with joining(sink):
            return self.rule.join(module, x, y, again)


def _overwritten(module: nn.Module, name: str, rule: Rule | None) -> RuleError:
    return RuleError(
        f"{name or type(module).__name__} overwrites its input in place, so "
        f"{type(rule).__name__} cannot know what came in; build it with inplace=False."
    )


_HOLE = object()


class _WrappedForward:
    """Runs a module's forward between its hooks, whatever happens inside.

    For the model itself, since torch calls no hook when Ctrl-C interrupts a forward;
    and for ``nn.TransformerEncoderLayer``, which refuses its fused kernel to a module
    with hooks.
    """

    def __init__(self, hooks: ModuleHooks, module: nn.Module) -> None:
        self.hooks = hooks
        self.module = module
        self.inner = module.forward
        functools.update_wrapper(self, module.forward)

    def __reduce__(self) -> Any:
        return (_plain_forward, (self.module,))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with undoing() as undo:
            if self.hooks.runtime is not None:
                undo.add(self.hooks.runtime.unwinding())
            self.hooks.enter(self.module, args, kwargs)
            output = self.inner(*args, **kwargs)
            replaced = self.hooks.leave(self.module, args, kwargs, output)
            return output if replaced is None else replaced


def _plain_forward(module: nn.Module) -> Callable[..., Any]:
    return functools.partial(type(module).forward, module)


def _wrap_forward(hooks: ModuleHooks, module: nn.Module, undo: Undo) -> None:
    before = module.__dict__.get("forward")
    wrapped = _WrappedForward(hooks, module)

    def restore() -> None:
        if before is None:
            module.__dict__.pop("forward", None)
        else:
            module.__dict__["forward"] = before

    undo.add(restore)
    module.__dict__["forward"] = wrapped
