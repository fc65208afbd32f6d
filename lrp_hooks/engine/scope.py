"""The function scope: torch functions that have another backward while a model runs.

One `Scope` is open for each outermost module call of an instrumented model, in the
thread that made the call. Modules called inside push a frame with their own function
table on it; the innermost table wins. Where no module of the model is running, nothing
of the process is touched.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from .autograd import carries
from .bypass import mark_alias
from .composite import is_composite, opened
from .constancy import expect_histories
from .constants import Constants
from .foreign import graph_nodes
from .functions import in_place
from .kept import before_write, listen
from .notes import is_number
from .recompute import mark_reentrant, next_node, recomputed_in
from .rule import FunctionTable
from .scripts import ScriptWatch, script_names
from .shares import exchanges
from .sources import SourceCollector
from .stack import active_scope, height, open_scopes
from .surroundings import Frame, Surroundings
from .unseen import differentiate, transformed
from .writes import set_data, write_into

__all__ = [
    "Scope",
]

_MISSING = object()


def _switch_grad(func: Callable[..., Any], mode: bool) -> Any:
    """Switch recording; a custom function that does so may be a checkpoint."""
    scope = active_scope()
    if scope is not None and not mode and not torch.is_grad_enabled():
        scope.note_unrecorded()
    return func(mode)


_OWN_TABLE: FunctionTable = {
    torch.autograd.grad: differentiate,
    torch.autograd.backward: differentiate,
    Tensor.backward: differentiate,
    torch._C._set_grad_enabled: _switch_grad,
}
"""What a scope itself must know of, whatever the rules."""


class Scope(TorchFunctionMode):
    """Replaces torch functions in one thread while a module of the model runs."""

    def renewed(self) -> Scope:
        """Return a scope for the same model that only replaces functions."""
        scope = Scope(self.surroundings, None)
        scope.explains = self.explains
        return scope

    def __init__(
        self, surroundings: Surroundings, collector: SourceCollector | None
    ) -> None:
        """Prepare a scope; `enter` opens it.

        Args:
            surroundings: What the scopes of this model share.
            collector: Where sources are entered, if a ledger is being written.
        """
        super().__init__()
        self.surroundings = surroundings
        self.collector = collector
        self.explains = collector is not None
        self.frames: list[Frame] = []
        self._open = open_scopes()
        self._base: FunctionTable = {**surroundings.table, **_OWN_TABLE}
        self._table: FunctionTable = self._base
        self.in_leaf = self.resting = False
        self.constants = Constants(surroundings, self.frames)
        self._idle: dict[int, Any] = {}
        self._opening: list[Callable[..., Any]] = []
        self._watch: ScriptWatch | None = None
        self._unrecorded: list[tuple[int, list[Frame]]] = []

    def enter(self, frame: Frame, idle: bool = False) -> None:
        """Enter a module; the first one opens the scope.

        Args:
            frame: The module.
            idle: Nothing carries relevance in this call, so functions go by unseen.
        """
        if not self.frames:
            self._open.append(self)  # first, so that `leave` finds it at any moment
            self.__enter__()  # type: ignore[no-untyped-call]
            listen(height())
            if height() == 1:
                expect_histories()
            if script_names():
                self._watch = ScriptWatch(self)
                self._watch.__enter__()  # type: ignore[no-untyped-call]
        self.frames.append(frame)
        if idle:
            # Some fused kernels fail under a watch.
            watch = None if self._idle else self._watch
            guard = torch._C.DisableTorchFunction()
            self._idle[len(self.frames)] = guard, watch
            guard.__enter__()
            if watch is not None:
                watch.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        if frame.functions or frame.leaf:
            self._combine(self.frames)

    def leave(self) -> None:
        """Leave the innermost module; the last one closes the scope.

        Where it was interrupted, it goes on when it is called again.
        """
        depth = len(self.frames)
        guard, watch = self._idle.get(depth, (None, None))
        if guard is not None:
            if watch is not None:
                watch.__enter__()
            guard.__exit__(None, None, None)
            del self._idle[depth]
        if depth <= 1:
            self._close()
            return
        frame = self.frames[-1]
        if frame.functions or frame.leaf:
            self._combine(self.frames[:-1])
        self.frames.pop()

    def leave_to(self, depth: int) -> None:
        """Leave a module, and those inside that an interrupt has left behind.

        Args:
            depth: How many are to remain.
        """
        while len(self.frames) > depth:
            self.leave()

    def _close(self) -> None:
        watch = self._watch
        while watch is not None and watch in _get_current_dispatch_mode_stack():
            watch.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        while self in _get_current_function_mode_stack():  # type: ignore[no-untyped-call]
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        self.frames.clear()
        if self in self._open:
            listen(height() - 1)  # first, since nothing comes back for it
            self._open.remove(self)
        while watch is not None and watch.found:
            self.surroundings.report(*watch.found.pop())

    def _combine(self, frames: Sequence[Frame]) -> None:
        """Lay the function tables of the running modules over one another."""
        table: FunctionTable = self._base
        for frame in frames:
            table = {**table, **frame.functions} if frame.functions else table
        self._table = table
        self.in_leaf = any(frame.leaf for frame in frames)

    def __torch_function__(  # noqa: PLW3201
        self,
        func: Callable[..., Any],
        types_: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call a function's replacement, or the function itself."""
        kwargs = kwargs or {}
        suspects = self.constants.suspects
        if (
            type(func) is types.MethodWrapperType  # an attribute such as x.shape
            or self._open[-1] is not self
            or self.resting
            or (func in _PLAIN and type(args[0]) in suspects)
        ):
            return self._as_it_is(func, args, kwargs)
        for value in args:
            if type(value) in suspects:
                args = tuple(map(self.constants.constant, args))
                break
        if kwargs:
            constant = self.constants.constant
            kwargs = {key: constant(value) for key, value in kwargs.items()}
            if kwargs.get("out") is not None:
                return write_into(self, func, args, kwargs)
            # Replacements take the input by position; `where` has its condition first.
            if not args and "input" in kwargs and "condition" not in kwargs:
                args = (kwargs.pop("input"),)
        handler = None if self.in_leaf else self._table.get(func, _MISSING)
        if handler is None:
            result = func(*args, **kwargs)
        elif handler is _MISSING:
            result = self._unruled(func, args, kwargs)
        elif _saved_tensors_hooks(True) is not None or transformed():
            result = self._elsewhere(handler, func, args, kwargs)
        else:
            result = handler(func, *args, **kwargs)  # type: ignore[operator]
        done = isinstance(result, Tensor) and result.requires_grad
        named = self.collector is not None
        return result if done else self.constants.note(func, result, args, named)

    def _elsewhere(
        self, handler: Any, func: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        """Call a replacement where a checkpoint or a transform has its own graph."""
        if transformed():
            result = func(*args, **kwargs)
            self._tell_transformed(func, args, kwargs, result)
            return result
        hooks = _saved_tensors_hooks(True)
        if (told := recomputed_in(self, hooks)) is not None:
            self.surroundings.report(told, self.frames[-1].name)
        return handler(func, *args, **kwargs)

    def _tell_transformed(
        self, func: Callable[..., Any], args: Any, kwargs: Any, result: Any
    ) -> None:
        if _any_carries((args, tuple(kwargs.values())), inside=True):
            label = f"{func.__name__} in a transform of torch.func"
            self.report(label, _inside(result))

    def note_unrecorded(self) -> None:
        """Note that a part runs without a graph: it may be a reentrant checkpoint."""
        self._unrecorded.append((next_node(), list(self.frames)))

    def mark_checkpoints(self, output: Any) -> None:
        """Let reentrant checkpoints run again in the scope that they ran in.

        Args:
            output: What the outermost call returned.
        """
        if self._unrecorded:
            mark_reentrant(self, output, self._unrecorded)

    def _as_it_is(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call a function that has no rule; what is made of a parameter is constant."""
        if func not in _MADE:
            return func(*args, **kwargs)
        if func == _SET_DATA:
            return set_data(func, *args)
        result = func(*args, **kwargs)
        if result is args[0]:
            return result
        if self.constants.constant(args[0]) is args[0]:
            if func == _GET_DATA:
                mark_alias(result, args[0])
            return result
        return result.detach()

    def _unruled(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if is_composite(func) and func not in self._opening:
            self._opening.append(func)
            try:
                with self:
                    return opened(func)(*args, **kwargs)
            finally:
                self._opening.pop()
        if in_place(func) and isinstance(args[0], Tensor):
            before_write(args[0])
        result = func(*args, **kwargs)
        if transformed():
            self._tell_transformed(func, args, kwargs, result)
        elif is_number(result) and _any_carries((args, tuple(kwargs.values()))):
            if not exchanges(func):
                self.report(func, result)
        return result

    def report(self, func: Callable[..., Any] | str, result: object) -> None:
        """Report a function; while a ledger is written, once an output is explained.

        Args:
            func: A function that bends relevance and has no rule.
            result: What it returned.
        """
        nodes = graph_nodes(result)
        if self.collector is None or not nodes:
            self.surroundings.report(func, self.frames[-1].name)
        else:
            self.collector.unruled.append((func, self.frames[-1].name, nodes))


def _any_carries(value: object, inside: bool = False) -> bool:
    if isinstance(value, list | tuple):
        return any(_any_carries(item, inside) for item in value)
    return carries(_inside(value) if inside else value)


def _inside(value: object) -> object:
    """Return what a transform of torch.func has wrapped."""
    while isinstance(value, Tensor) and _is_transformed(value):
        value = _untransformed(value)
    return value


_saved_tensors_hooks = torch._C._autograd._top_saved_tensors_default_hooks
_is_transformed = torch._C._functorch.is_functorch_wrapped_tensor
_untransformed = torch._C._functorch.get_unwrapped
_VIEWS = {
    getattr(Tensor, name).__get__ for name in ("T", "mT", "H", "mH", "real", "imag")
}
"""Attributes that are tensors: a parameter's are constants as it is."""
_GET_DATA, _SET_DATA = Tensor.data.__get__, Tensor.data.__set__  # type: ignore[attr-defined]
_CASTS = {Tensor.to, Tensor.cpu, Tensor.cuda, Tensor.type}
_PLAIN = {
    *_CASTS,
    Tensor.register_hook,
    Tensor.register_post_accumulate_grad_hook,
}
"""What is done to a parameter itself."""
_MADE = {*_VIEWS, *_CASTS, _GET_DATA, _SET_DATA}
