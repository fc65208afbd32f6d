"""The function scope: torch functions that have another backward while a model runs.

One `Scope` is open for each outermost module call of an instrumented model, in the
thread that made the call. Modules called inside push a frame with their own function
table on it; the innermost table wins. Where no module of the model is running, nothing
of the process is touched.
"""

from __future__ import annotations

import threading
import types
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from .autograd import carries, splice
from .bypass import bypasses, changed, is_recorded, mark_alias, owner_of
from .composite import is_composite, opened
from .constancy import expect_histories
from .foreign import graph_nodes
from .functions import in_place
from .kept import before_write, listen
from .recompute import mark_reentrant, next_node, recomputed_in
from .rule import FunctionTable
from .scripts import ScriptWatch, script_names
from .sources import Constant, Gate, SourceCollector
from .surroundings import Frame, Surroundings, storage_address
from .undo import Undo
from .unseen import differentiate, transformed

__all__ = [
    "Scope",
    "active_scope",
    "aside",
    "report",
    "role",
    "set_role",
    "trainable",
    "under_rules",
    "watch_gate",
    "watch_source",
]

_MISSING = object()


class _Thread(threading.local):
    def __init__(self) -> None:
        self.scopes: list[Scope | None] = []


def active_scope() -> Scope | None:
    """Return the innermost scope that is open in this thread."""
    scopes = _thread.scopes
    return scopes[-1] if scopes else None


def aside(undo: Undo) -> None:
    """Set the scopes of this thread aside: what runs is no part of their forward.

    Args:
        undo: Where it is noted how they come back.
    """
    scopes = _thread.scopes
    undo.add(partial(scopes.__delitem__, slice(len(scopes), None)))
    scopes.append(None)


def _height(scopes: Sequence[Scope | None]) -> int:
    """Count the scopes that are open, those that are set aside included."""
    return sum(scope is not None for scope in scopes)


def watch_source(out: Tensor, constant: Constant, of: object = None) -> None:
    """Enter a constant that was added to ``out`` in the ledger.

    For replacements of torch functions. Does nothing unless a ledger is being written.

    Args:
        out: The result that carries relevance.
        constant: What was added; see `SourceCollector.watch`.
        of: The tensor that gives the source its name (a parameter, a buffer, or a view
            of one), or the name's last part. Defaults to ``constant``.
    """
    scope = active_scope()
    if scope is not None and scope.collector is not None and not carries(constant):
        name = scope.name_source(constant if of is None else of)
        scope.collector.watch(out, constant, name)


def report(func: Callable[..., Any], result: object) -> None:
    """Say that a function bends relevance in a way that no rule covers.

    For replacements of torch functions that cover some arguments and not others.

    Args:
        func: The function.
        result: What it returned.
    """
    scope = active_scope()
    if scope is not None:
        scope.report(func, result)


def under_rules(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function so that the torch functions it calls have their rules.

    For replacements, inside which they have none.

    Args:
        function: A function in terms of torch functions.
        *args: Its arguments.
        **kwargs: Its keyword arguments.

    Returns:
        What it returned.
    """
    scope = active_scope()
    if scope is None:
        return function(*args, **kwargs)
    with scope:
        return function(*args, **kwargs)


def watch_gate(out: Tensor, x: Tensor, name: str) -> None:
    """Note what a gate was made of: that is explained where the gate is the output.

    For replacements of torch functions. Does nothing unless a ledger is being written.

    Args:
        out: What the function returned.
        x: What it was given; its value must still be that.
        name: The function's name.
    """
    scope = active_scope()
    # Logits have three dimensions at most; attention's scores need not be kept.
    if scope is None or scope.collector is None or x.ndim > 3 or out.shape != x.shape:
        return
    scope.collector.gate = Gate(name, out, x, (out._version, x._version))


def role(value: object) -> Any:
    """Return what a rule noted of a tensor with `set_role`, or None."""
    return getattr(value, "_lrp_role", None)


def set_role(tensor: Tensor, note: object) -> Tensor:
    """Note on a fresh tensor what part it plays for a later product.

    Args:
        tensor: The result of a replacement.
        note: ``"activated"``, ``"gate"``, or a softmax's query and key share.

    Returns:
        The tensor itself.
    """
    tensor._lrp_role = note  # type: ignore[attr-defined]
    return tensor


def trainable(value: object) -> bool:
    """Tell whether a constant stands for a parameter that requires a gradient.

    Args:
        value: An argument of a replacement.

    Returns:
        True for such a parameter's values.
    """
    if getattr(value, "_lrp_trainable", False):
        return True
    scope = active_scope()
    if scope is None or not isinstance(value, Tensor):
        return False
    return storage_address(value) in scope.surroundings.trainable


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

    @property
    def plain(self) -> type[Scope]:
        """The class of a scope that only replaces functions."""
        return Scope

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
        self.frames: list[Frame] = []
        self._open = _thread.scopes
        self._base: FunctionTable = {**surroundings.table, **_OWN_TABLE}
        self._table = self._base
        self.in_leaf = False
        self._swapped = surroundings.swapped()
        self._suspects = surroundings.suspects
        if self._swapped:
            self._suspects = {Tensor, *surroundings.suspects}
        self._idle: dict[int, Any] = {}
        self._opening: list[Callable[..., Any]] = []
        self._watch: ScriptWatch | None = None
        self._scripts: set[tuple[str, str]] = set()
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
            height = _height(self._open)
            listen(height)
            if height == 1:
                expect_histories()
            if script_names():
                self._watch = ScriptWatch(self._sees, self._note_script)
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
        frame, outer = self.frames[-1], self.frames[:-1]
        if frame.functions or frame.leaf:
            self._combine(outer)
        self.frames.pop()

    def _close(self) -> None:
        watch = self._watch
        while watch is not None and watch in _get_current_dispatch_mode_stack():
            watch.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        while self in _get_current_function_mode_stack():  # type: ignore[no-untyped-call]
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        self.frames.clear()
        if self in self._open:
            listen(_height(self._open) - 1)  # first, since nothing comes back for it
            self._open.remove(self)
        while self._scripts:
            self.surroundings.report(*self._scripts.pop())

    def _sees(self) -> bool:
        """Tell whether a function is being called, for which torch takes a mode off."""
        top = torch._C._len_torch_function_stack() - 1
        if self.in_leaf or top < 0:
            return True
        return torch._C._get_function_stack_at(top) is not self

    def _note_script(self, label: str) -> None:
        # The interpreter of TorchScript would make another error of one raised here.
        self._scripts.add((label, self.frames[-1].name))

    def _combine(self, frames: Sequence[Frame]) -> None:
        """Lay the function tables of the running modules over one another."""
        table = self._base
        for frame in frames:
            table = {**table, **frame.functions} if frame.functions else table
        self._table = table
        self.in_leaf = any(frame.leaf for frame in frames)

    def name_source(self, of: object) -> str:
        """Name a constant: a parameter or buffer by its own name, else by the module.

        Args:
            of: A tensor, or the name's last part.

        Returns:
            The qualified name.
        """
        module = self.frames[-1].name if self.frames else ""
        if isinstance(of, Tensor):
            known = self.parameter_name(of)
            if known is not None:
                return str(known)
            of = "constant"
        last = of if isinstance(of, str) else "constant"
        return f"{module}.{last}" if module else last

    def parameter_name(self, tensor: Tensor) -> str | None:
        """Return the name of the parameter or buffer whose storage a tensor shares."""
        shared = self.surroundings
        known = getattr(tensor, "_lrp_name", None) or shared.name_of(tensor)
        if known is not None:
            return str(known)
        return shared.storages.get(storage_address(tensor))

    def __torch_function__(  # noqa: PLW3201
        self,
        func: Callable[..., Any],
        types_: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call a function's replacement, or the function itself."""
        kwargs = kwargs or {}
        suspects = self._suspects
        if (
            type(func) is types.MethodWrapperType  # an attribute such as x.shape
            or self._open[-1] is not self
            or (self._watch is not None and self._watch.asking)
            or (func in _CASTS and type(args[0]) in suspects)
        ):
            return self._as_it_is(func, args, kwargs)
        for value in args:
            if type(value) in suspects:
                args = tuple([self._constant(value) for value in args])
                break
        if kwargs:
            kwargs = {key: self._constant(value) for key, value in kwargs.items()}
            if kwargs.get("out") is not None:
                return self._into(func, args, kwargs)
            # Replacements take the input by position; `where` has its condition first.
            if not args and "input" in kwargs and "condition" not in kwargs:
                args = (kwargs.pop("input"),)
        handler = None if self.in_leaf else self._table.get(func, _MISSING)
        if handler is None:
            return func(*args, **kwargs)
        if handler is _MISSING:
            return self._unruled(func, args, kwargs)
        if _saved_tensors_hooks(True) is not None or transformed():
            return self._elsewhere(handler, func, args, kwargs)
        return handler(func, *args, **kwargs)  # type: ignore[operator]

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
            label = f"{func.__qualname__} in a transform of torch.func"
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
            return self._set_data(func, *args)
        result = func(*args, **kwargs)
        if result is args[0]:
            return result
        if self._constant(args[0]) is args[0]:
            if func == _GET_DATA:
                mark_alias(result, args[0])
            return result
        return result.detach()

    def _set_data(self, func: Callable[..., Any], tensor: Tensor, value: Any) -> None:
        before = tensor.detach()
        func(tensor, value)
        if is_recorded(tensor) and changed(before, tensor.detach()):
            self.report_bypass(func)

    def is_signal(self, tensor: Tensor) -> bool:
        """Tell what carries relevance from a parameter that requires a gradient.

        Args:
            tensor: An argument of a module.

        Returns:
            False for the model's parameters, and for what stands in their place.
        """
        return carries(tensor) and self._constant(tensor) is tensor

    def _constant(self, value: Any) -> Any:
        """Detach the model's parameters: a weight is no factor to share with."""
        kind = type(value)
        if kind not in self._suspects:
            return value
        if kind in {list, tuple}:
            return kind([self._constant(item) for item in value])
        if not value.requires_grad:
            return value
        name = self.surroundings.name_of(value) or self._swapped.get(id(value))
        if name is None and kind is not Tensor:
            name = self._late_name(value)
        if name is None:
            return value
        constant = value.detach()
        constant._lrp_name, constant._lrp_trainable = name, True
        return constant

    def _late_name(self, value: Any) -> str | None:
        """Name a parameter that was put into the running module for this call."""
        frame = self.frames[-1]
        for name, parameter in frame.module.named_parameters():
            if parameter is value:
                return f"{frame.name}.{name}" if frame.name else name
        return None

    def _into(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call a function that writes what it returns into tensors that it is given."""
        out = kwargs.pop("out")
        live = torch.is_grad_enabled() and _any_carries((args, tuple(kwargs.values())))
        targets = (out,) if isinstance(out, Tensor) else tuple(out)
        result = self.__torch_function__(func, (), args, kwargs) if live else out
        values = (result,) if isinstance(result, Tensor) else tuple(result)
        before = [target.detach().clone() for target in targets]
        for target in targets:
            before_write(target)
        with torch.no_grad():
            func(*args, **kwargs, out=out)
        for target, value, old in zip(targets, values, before, strict=True):
            if bypasses(target):
                if changed(old, target.detach()):
                    self.report_bypass(func)
            elif _is_signal(value) and (carries(value) or carries(owner_of(target))):
                exact = target.detach().clone()
                if live and carries(value):
                    exact = splice(exact, value, lambda grad: grad)
                self.__torch_function__(Tensor.copy_, (), (target, exact))
        return out

    def report_bypass(self, func: Callable[..., Any]) -> None:
        """Report that recorded values were overwritten behind autograd's back."""
        label = f"{func.__name__} on values that autograd has recorded, unseen by it"
        self.surroundings.report(label, self.frames[-1].name)

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
        elif _is_signal(result) and _any_carries((args, tuple(kwargs.values()))):
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


def _is_signal(value: object) -> bool:
    """Tell floats from masks and indices; some functions have no derivative at all."""
    if isinstance(value, list | tuple):
        return any(_is_signal(item) for item in value)
    return isinstance(value, Tensor) and (
        value.is_floating_point() or value.is_complex()
    )


def _any_carries(value: object, inside: bool = False) -> bool:
    if isinstance(value, list | tuple):
        return any(_any_carries(item, inside) for item in value)
    return carries(_inside(value) if inside else value)


def _inside(value: object) -> object:
    """Return what a transform of torch.func has wrapped."""
    while isinstance(value, Tensor) and _is_transformed(value):
        value = _untransformed(value)
    return value


_thread = _Thread()
_saved_tensors_hooks = torch._C._autograd._top_saved_tensors_default_hooks
_is_transformed = torch._C._functorch.is_functorch_wrapped_tensor
_untransformed = torch._C._functorch.get_unwrapped
_VIEWS = {
    getattr(Tensor, name).__get__ for name in ("T", "mT", "H", "mH", "real", "imag")
}
"""Attributes that are tensors: a parameter's are constants as it is."""
_GET_DATA, _SET_DATA = Tensor.data.__get__, Tensor.data.__set__  # type: ignore[attr-defined]
_CASTS = {Tensor.to, Tensor.cpu, Tensor.cuda, Tensor.type}
_MADE = {*_VIEWS, *_CASTS, _GET_DATA, _SET_DATA}
