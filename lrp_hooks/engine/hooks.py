"""The hooks on one module: they open the function scope and splice in leaf rules."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import MethodType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import RuleError
from .autograd import carries
from .nested import first_tensor, replace_first
from .rule import FunctionTable, LeafRule, Rule, joining
from .runtime import Runtime
from .stack import active_scope
from .surroundings import Frame
from .undo import Undo
from .unseen import transformed
from .writes import rule_table

__all__ = ["ModuleHooks", "around_forward", "unhooked"]


_NONE: FunctionTable = {}
FUSED = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder)
"""Modules that look for function modes before they take their fused kernels."""


class ModuleHooks:
    """What stands around one module's call, and around its forward inside the hooks.

    The call opens the scope, so that it sees what hooks of others do. The rule belongs
    to the module's own input and output, so it stands inside those hooks.

    A copy of an instrumented model is a plain model: copies of these hooks do nothing.
    """

    __slots__ = ("frame", "rule", "runtime")

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
        functions = _NONE if leaf or rule is None else rule_table(rule, module)
        self.frame = Frame(module, name, functions, leaf, isinstance(module, FUSED))

    def __reduce__(self) -> Any:
        """Copy and pickle as hooks that do nothing."""
        return (ModuleHooks, ())

    def attach(self, module: nn.Module, undo: Undo, framed: bool = True) -> None:
        """Put the hooks on a module.

        Args:
            module: The module.
            undo: Where it is noted how they come off again.
            framed: Whether its forward needs a frame of its own.
        """
        if isinstance(module, torch.jit.ScriptModule):
            _wrap(_WrappedScript(self, module), undo)
            return
        _wrap(_WrappedCall(self, module), undo)
        if framed:
            _wrap(_WrappedForward(self, module), undo)

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
        if scope is None or not (holds and self.frame.leaf and torch.is_grad_enabled()):
            return None
        return self._spliced(module, args, kwargs, output, scope.constants.is_signal)

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
        if transformed() and self.runtime is not None:
            self.runtime.surroundings.report(
                f"{type(module).__name__} in a transform of torch.func", self.frame.name
            )
            return None
        joined = self._join(module, args, kwargs, x, y)
        return joined if output is y else replace_first(output, y, joined)

    def _join(
        self, module: nn.Module, args: Any, kwargs: Any, x: Tensor, y: Tensor
    ) -> Tensor:
        assert isinstance(self.rule, LeafRule) and self.runtime is not None
        alone = len(args) == 1 and not kwargs and args[0] is x
        given = None if alone else replace_first((args, kwargs), x, _HOLE)

        forward = _own_forward(module)

        def again(point: Tensor) -> Tensor:
            if given is None:
                args, kwargs = (point,), {}
            else:
                args, kwargs = replace_first(given, _HOLE, point)
            result = first_tensor(forward(*args, **kwargs))
            assert result is not None
            return result

        collector, name = self.runtime.collector, self.frame.name
        sink = None
        if collector is not None:
            share = collector.share_of(x)

            def sink(kind: str, terms: Tensor) -> None:
                part = share.of_terms(y, terms.ndim) if share else None
                collector.add(f"{name}.{kind}" if name else kind, terms, part)

        with joining(sink), self.runtime.resting():
            return self.rule.join(module, x, y, again)


def _own_forward(module: nn.Module) -> Callable[..., Any]:
    """Return the forward of a module without what stands around it."""
    forward = module.forward
    return forward.inner if isinstance(forward, _WrappedForward) else forward


def around_forward(
    module: nn.Module,
    put: Callable[[Callable[..., Any]], Callable[..., Any]],
    undo: Undo,
) -> None:
    """Put something around a module's forward, inside what stands around that.

    Args:
        module: The module, instrumented or not.
        put: Returns what runs in place of the forward that it is given.
        undo: Where it is noted how it comes off again.
    """
    attributes = module.__dict__
    before = attributes.get("forward")
    if isinstance(before, _WrappedForward):
        undo.add(functools.partial(setattr, before, "inner", before.inner))
        before.inner = put(before.inner)
    else:
        undo.add(functools.partial(_reset, attributes, "forward", before))
        attributes["forward"] = put(module.forward)


def _reset(attributes: dict[str, Any], name: str, before: Any) -> None:
    """Give an instance its attribute back; None where it had none of its own."""
    if before is None:
        attributes.pop(name, None)
    else:
        attributes[name] = before


def _overwritten(module: nn.Module, name: str, rule: Rule | None) -> RuleError:
    return RuleError(
        f"{name or type(module).__name__} overwrites its input in place, so "
        f"{type(rule).__name__} cannot know what came in; build it with inplace=False."
    )


_HOLE = object()


class _Wrapped:
    """Runs a method of a module, which it hides on the instance.

    No hook of torch's: torch calls none when Ctrl-C interrupts a forward, and refuses
    ``nn.TransformerEncoderLayer``'s fused kernel to a module with hooks.
    """

    __slots__ = ("hooks", "inner", "module", "plain", "surroundings")
    method: ClassVar[str]

    def __init__(self, hooks: ModuleHooks, module: nn.Module) -> None:
        self.hooks = hooks
        self.module = module
        self.surroundings = (
            None if hooks.runtime is None else hooks.runtime.surroundings
        )
        # A compiler that looks in here finds the model as it is.
        self.plain = hooks.runtime is not None and hooks.runtime.plain
        self.inner = getattr(module, self.method)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the method."""
        raise NotImplementedError

    def __reduce__(self) -> Any:
        return (_plain, (self.module, self.method))


class _WrappedCall(_Wrapped):
    """Opens the scope for an outermost call, hooks of others included."""

    __slots__ = ()
    method = "_call_impl"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.plain and torch.compiler.is_compiling():
            return self.inner(*args, **kwargs)
        scope = active_scope()
        if scope is not None and scope.surroundings is self.surroundings:
            return self.inner(*args, **kwargs)
        return self.opened(self.inner, args, kwargs)

    def opened(self, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run an outermost call in a scope, unless rules rest."""
        runtime = self.hooks.runtime
        if runtime is None or runtime.paused:
            return call(*args, **kwargs)
        return runtime.around(self.hooks.frame, call, args, kwargs)


class _WrappedForward(_WrappedCall):
    """Runs a module's forward in its frame, whatever happens inside."""

    method = "forward"

    def __init__(self, hooks: ModuleHooks, module: nn.Module) -> None:
        super().__init__(hooks, module)
        functools.update_wrapper(self, self.inner)  # models look at its signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.plain and torch.compiler.is_compiling():
            return self.inner(*args, **kwargs)
        scope, frame = active_scope(), self.hooks.frame
        if scope is None or scope.surroundings is not self.surroundings:
            return self.opened(self.run, args, kwargs)
        if frame.leaf or frame.functions or frame.fused:
            return self.run(*args, **kwargs)
        frames = scope.frames
        depth = len(frames)
        scope.enter(frame)
        try:
            return self.inner(*args, **kwargs)
        finally:
            if len(frames) == depth + 1:
                frames.pop()  # all that `Scope.leave` does for such a frame
            else:
                scope.leave_to(depth)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Run the forward between `ModuleHooks.enter` and `ModuleHooks.leave`."""
        self.hooks.enter(self.module, args, kwargs)
        output = None
        try:
            output = self.inner(*args, **kwargs)
        finally:
            replaced = self.hooks.leave(self.module, args, kwargs, output)
        return output if replaced is None else replaced


class _WrappedScript(_Wrapped):
    """Tells that relevance goes through TorchScript, where no rule holds."""

    method = "_call_impl"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        runtime = self.hooks.runtime
        live = runtime is not None and first_tensor((args, kwargs), carries) is not None
        if runtime is not None and live and torch.is_grad_enabled():
            scope = runtime.scope
            if scope is not None and not scope.in_leaf:
                runtime.surroundings.report("TorchScript", self.hooks.frame.name)
        return self.inner(*args, **kwargs)


def _plain(module: nn.Module, method: str) -> Callable[..., Any]:
    return MethodType(getattr(type(module), method), module)


def unhooked(model: nn.Module) -> nn.Module:
    """Rid a copy of an instrumented model of what its hooks were copied as.

    Args:
        model: The copy.

    Returns:
        The same, plain.
    """
    for module in model.modules():
        for kind in (_WrappedCall, _WrappedForward):
            own = vars(module).get(kind.method)
            if isinstance(own, MethodType) and own == _plain(module, kind.method):
                del vars(module)[kind.method]
    return model


def _wrap(wrapped: _Wrapped, undo: Undo) -> None:
    attributes, method = wrapped.module.__dict__, wrapped.method
    undo.add(functools.partial(_reset, attributes, method, attributes.get(method)))
    attributes[method] = wrapped
