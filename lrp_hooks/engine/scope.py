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
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from .autograd import carries, splice
from .bypass import bypasses, changed, is_recorded, mark_alias, owner_of
from .composite import is_composite, opened
from .constancy import expect_histories
from .foreign import graph_nodes
from .functions import in_place
from .kept import before_write, listen
from .rule import FunctionTable
from .sources import Constant, Gate, SourceCollector
from .surroundings import Frame, Surroundings, storage_address

__all__ = [
    "Scope",
    "active_scope",
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
        self.scopes: list[Scope] = []


def active_scope() -> Scope | None:
    """Return the innermost scope that is open in this thread."""
    scopes = _thread.scopes
    return scopes[-1] if scopes else None


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


class Scope(TorchFunctionMode):
    """Replaces torch functions in one thread while a module of the model runs."""

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
        self._table: FunctionTable = surroundings.table
        self.in_leaf = False
        self._swapped = surroundings.swapped()
        self._suspects = surroundings.suspects
        if self._swapped:
            self._suspects = {Tensor, *surroundings.suspects}
        self._idle: dict[int, Any] = {}
        self._opening: list[Callable[..., Any]] = []

    def enter(self, frame: Frame, idle: bool = False) -> None:
        """Enter a module; the first one opens the scope.

        Args:
            frame: The module.
            idle: Nothing carries relevance in this call, so functions go by unseen.
        """
        if not self.frames:
            self._open.append(self)  # first, so that `leave` finds it at any moment
            self.__enter__()  # type: ignore[no-untyped-call]
            listen(len(self._open))
            if len(self._open) == 1:
                expect_histories()
        self.frames.append(frame)
        if idle:
            self._idle[len(self.frames)] = guard = torch._C.DisableTorchFunction()
            guard.__enter__()
        if frame.functions or frame.leaf:
            self._combine(self.frames)

    def leave(self) -> None:
        """Leave the innermost module; the last one closes the scope.

        Where it was interrupted, it goes on when it is called again.
        """
        depth = len(self.frames)
        guard = self._idle.get(depth)
        if guard is not None:
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
        while self in _get_current_function_mode_stack():  # type: ignore[no-untyped-call]
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        self.frames.clear()
        if self in self._open:
            listen(len(self._open) - 1)  # first, since nothing comes back for it
            self._open.remove(self)

    def _combine(self, frames: Sequence[Frame]) -> None:
        """Lay the function tables of the running modules over one another."""
        table = self.surroundings.table
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
        result = handler(func, *args, **kwargs)  # type: ignore[operator]
        if _vmap_level() is not None:
            self._report_batched(func, result)
        return result

    def _report_batched(self, func: Callable[..., Any], result: Any) -> None:
        """Report a function inside torch.vmap, which hides from rules what carries."""
        if isinstance(result, Tensor) and torch._C._functorch.is_batchedtensor(result):
            inner = torch._C._functorch.get_unwrapped(result)
            if carries(inner):
                self.report(f"{func.__name__} under torch.vmap", inner)

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
        if _is_signal(result) and _any_carries((args, tuple(kwargs.values()))):
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


def _any_carries(value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(_any_carries(item) for item in value)
    return carries(value)


_thread = _Thread()
_vmap_level = torch._C._functorch.maybe_current_level
_VIEWS = {
    getattr(Tensor, name).__get__ for name in ("T", "mT", "H", "mH", "real", "imag")
}
"""Attributes that are tensors: a parameter's are constants as it is."""
_GET_DATA, _SET_DATA = Tensor.data.__get__, Tensor.data.__set__  # type: ignore[attr-defined]
_CASTS = {Tensor.to, Tensor.cpu, Tensor.cuda, Tensor.type}
_MADE = {*_VIEWS, *_CASTS, _GET_DATA, _SET_DATA}
