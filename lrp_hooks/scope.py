"""The function scope: torch functions that have another backward while a model runs.

One `Scope` is open for each outermost module call of an instrumented model, in the
thread that made the call. Modules called inside push a frame with their own function
table on it; the innermost table wins. Where no module of the model is running, nothing
of the process is touched.
"""

from __future__ import annotations

import threading
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .autograd import carries
from .rule import FunctionTable
from .sources import Constant, SourceCollector

__all__ = ["Scope", "Surroundings", "active_scope", "role", "set_role", "trainable", "watch_source"]

_thread = threading.local()
_MISSING = object()


def _scopes() -> list[Scope]:
    if not hasattr(_thread, "scopes"):
        _thread.scopes = []
    stack: list[Scope] = _thread.scopes
    return stack


def active_scope() -> Scope | None:
    """Return the innermost scope that is open in this thread."""
    scopes = _scopes()
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
    if scope is not None and scope.collector is not None:
        name = scope.name_source(constant if of is None else of)
        scope.collector.watch(out, constant, name)


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
    return getattr(value, "_lrp_trainable", False)


class Frame(NamedTuple):
    """One running module: its name, its function table, and whether it is a leaf."""

    module: object
    name: str
    table: FunctionTable
    leaf: bool


@dataclass(frozen=True)
class Surroundings:
    """What every scope of one instrumented model shares.

    Attributes:
        table: The function table of the rule set.
        constants: ``{id: name}`` of parameters, which carry no relevance.
        storages: ``{storage address: name}`` of parameters and buffers.
        report: Called as ``report(function, module name)`` for a function without rule.
    """

    table: FunctionTable
    constants: dict[int, str]
    storages: dict[int, str]
    report: Callable[[Callable[..., Any], str], None]


class Scope(TorchFunctionMode):
    """Replaces torch functions in one thread while a module of the model runs."""

    def __init__(
        self, surroundings: Surroundings, collector: SourceCollector | None
    ) -> None:
        """Prepare a scope; `push` opens it.

        Args:
            surroundings: What the scopes of this model share.
            collector: Where sources are entered, if a ledger is being written.
        """
        super().__init__()
        self.surroundings = surroundings
        self.collector = collector
        self.frames: list[Frame] = []
        self._opening: list[Callable[..., Any]] = []

    def push(
        self, module: object, name: str, functions: FunctionTable, leaf: bool
    ) -> None:
        """Enter a module; the first one opens the scope.

        Args:
            module: The module, to recognise it by in `pop`.
            name: Its qualified name.
            functions: Its own function table, laid over the one around it.
            leaf: Whether a `LeafRule` stands for everything inside.
        """
        if not self.frames:
            self.__enter__()
            _scopes().append(self)
            table = self.surroundings.table
        else:
            table = self.frames[-1].table
        if functions:
            table = {**table, **functions}
        self.frames.append(Frame(module, name, table, leaf or self.quiet))

    def pop(self) -> None:
        """Leave the innermost module; the last one closes the scope."""
        self.frames.pop()
        if not self.frames:
            _scopes().remove(self)
            self.__exit__(None, None, None)

    @property
    def quiet(self) -> bool:
        """Whether a leaf rule stands for what is running now."""
        return bool(self.frames) and self.frames[-1].leaf

    def name_source(self, of: object) -> str:
        """Name a constant: a parameter or buffer by its own name, else by the module.

        Args:
            of: A tensor, or the name's last part.

        Returns:
            The qualified name.
        """
        module = self.frames[-1].name if self.frames else ""
        if isinstance(of, Tensor):
            known = getattr(of, "_lrp_name", None) or self.parameter_name(of)
            if known is not None:
                return str(known)
            of = "constant"
        last = of if isinstance(of, str) else "constant"
        return f"{module}.{last}" if module else last

    def parameter_name(self, tensor: Tensor) -> str | None:
        """Return the name of the parameter or buffer whose storage a tensor shares."""
        try:
            address = tensor.untyped_storage().data_ptr()
        except (NotImplementedError, RuntimeError):  # sparse, meta or wrapper tensors
            return None
        return self.surroundings.storages.get(address) if address else None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types_: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call a function's replacement, or the function itself."""
        kwargs = kwargs or {}
        if (
            type(func) is types.MethodWrapperType  # an attribute such as x.shape
            or self.quiet
            or active_scope() is not self
        ):
            return func(*args, **kwargs)
        args = tuple([self._constant(value) for value in args])
        if kwargs:
            kwargs = {key: self._constant(value) for key, value in kwargs.items()}
        handler = self.frames[-1].table.get(func, _MISSING)
        if handler is _MISSING:
            return self._unruled(func, args, kwargs)
        if handler is None:
            return func(*args, **kwargs)
        return handler(func, *args, **kwargs)  # type: ignore[operator]

    def _constant(self, value: Any) -> Any:
        """Detach the model's parameters: a weight is no factor to share with."""
        if type(value) in {list, tuple}:
            return type(value)([self._constant(item) for item in value])
        if (
            id(value) in self.surroundings.constants
            and isinstance(value, nn.Parameter)
            and value.requires_grad
        ):
            constant = value.detach()
            constant._lrp_trainable = True
            return constant
        return value

    def _unruled(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if _opens(func) and func not in self._opening:
            self._opening.append(func)
            try:
                with self:
                    return _opened(func)(*args, **kwargs)
            finally:
                self._opening.pop()
        result = func(*args, **kwargs)
        if _any_carries(result) and _any_carries((args, tuple(kwargs.values()))):
            self.surroundings.report(func, self.frames[-1].name)
        return result


def _any_carries(value: object) -> bool:
    if isinstance(value, list | tuple):
        return any(_any_carries(item) for item in value)
    return carries(value)


_CHECKS = (
    "has_torch_function",
    "has_torch_function_unary",
    "has_torch_function_variadic",
)
_copies: dict[Callable[..., Any], Callable[..., Any]] = {}


def _opens(func: Callable[..., Any]) -> bool:
    """Tell whether a function is written in Python, in terms of other functions."""
    names = getattr(func, "__globals__", {})
    return isinstance(func, types.FunctionType) and any(c in names for c in _CHECKS)


def _opened(func: Any) -> Callable[..., Any]:
    """Copy a Python function of torch so that the scope sees the functions it calls.

    Such a function offers itself to the scope first and would do so for ever; in the
    copy that check answers no. The function itself is left as it is.
    """
    if func not in _copies:
        names = {**func.__globals__, **dict.fromkeys(_CHECKS, _no)}
        copy = types.FunctionType(
            func.__code__, names, func.__name__, func.__defaults__, func.__closure__
        )
        copy.__kwdefaults__ = func.__kwdefaults__
        _copies[func] = copy
    return _copies[func]


def _no(*_: object) -> bool:
    return False

