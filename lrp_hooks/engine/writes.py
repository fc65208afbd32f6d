"""What is overwritten in memory is overwritten in the graph.

An in-place function with a rule is its twin on a copy, under that rule, and a write of
the result into the same memory. The write is ``copy_``, which autograd records: every
other view of that memory sees it, and it does not matter what becomes of the return
value.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from .autograd import carries
from .bypass import bypasses, changed, is_recorded, owner_of
from .functions import HOMES, in_place
from .kept import before_write
from .nested import first_tensor
from .notes import is_number, report, role, set_role
from .rule import FunctionTable, Rule
from .splicing import splice
from .stack import OpenScope, active_scope
from .storage import storage_address

__all__ = ["rule_table", "set_data", "write_into", "written"]

Function = Callable[..., Any]


def rule_table(rule: Rule, module: Any) -> FunctionTable:
    """Return a rule's function table, its in-place functions made to last.

    Args:
        rule: The rule.
        module: See `Rule.functions`.

    Returns:
        The function table.
    """
    return written(rule.functions(module), ruled=not rule.overwrites)


def written(functions: FunctionTable, ruled: bool) -> FunctionTable:
    """Look after the in-place functions of a table.

    Args:
        functions: The function table.
        ruled: Whether replacements know nothing of in-place functions; otherwise each
            is called with them, and leaves the write to autograd.

    Returns:
        The function table with other replacements for in-place functions.
    """
    return {
        func: _looked_after(replacement, ruled) if in_place(func) else replacement
        for func, replacement in functions.items()
    }


def write_into(
    scope: OpenScope, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call a function that writes what it returns into tensors that it is given.

    Args:
        scope: The open scope.
        func: The function.
        args: Its arguments.
        kwargs: Its keyword arguments, ``out`` among them.

    Returns:
        ``out``.
    """
    out = kwargs.pop("out")
    given = (args, tuple(kwargs.values()))
    live = torch.is_grad_enabled() and first_tensor(given, carries) is not None
    targets = (out,) if isinstance(out, Tensor) else tuple(out)
    result = scope.__torch_function__(func, (), args, kwargs) if live else out
    values = (result,) if isinstance(result, Tensor) else tuple(result)
    before = [target.detach().clone() for target in targets]
    for target in targets:
        before_write(target)
    with torch.no_grad():
        func(*args, **kwargs, out=out)
    for target, value, old in zip(targets, values, before, strict=True):
        if bypasses(target):
            if changed(old, target.detach()):
                _report(func)
        elif is_number(value) and (carries(value) or carries(owner_of(target))):
            exact = target.detach().clone()
            if live and carries(value):
                exact = splice(exact, value, _passed)
            scope.__torch_function__(Tensor.copy_, (), (target, exact))
    return out


def set_data(func: Function, tensor: Tensor, value: Any) -> None:
    """Set ``tensor.data``, which autograd does not see.

    Args:
        func: The attribute's setter.
        tensor: The tensor.
        value: Its new values.
    """
    before = tensor.detach()
    func(tensor, value)
    if is_recorded(tensor) and changed(before, tensor.detach()):
        _report(func)


def _report(func: Function) -> None:
    """Report that recorded values were overwritten behind autograd's back."""
    report(f"{func.__name__} on values that autograd has recorded, unseen by it", None)


def _looked_after(replacement: Function | None, ruled: bool) -> Function:
    if replacement is None:
        return partial(_write, _call)
    return partial(_write, partial(_rule, replacement) if ruled else replacement)


def _call(func: Function, *args: Any, **kwargs: Any) -> Any:
    return func(*args, **kwargs)


def _write(
    replacement: Function, func: Function, x: Any, *args: Any, **kwargs: Any
) -> Any:
    """Save what others need of the memory, and tell of a write that is not recorded."""
    if not isinstance(x, Tensor):
        return replacement(func, x, *args, **kwargs)
    before_write(x)
    if not bypasses(x):
        args = tuple(_constant_apart(value, x) for value in args)
        out = replacement(func, x, *args, **kwargs)
        owner = owner_of(x)
        if owner is not x and role(owner) is not None:
            set_role(owner, None)
        return out
    before = x.detach().clone()
    out = func(x, *args, **kwargs)
    if changed(before, x.detach()):
        _report(func)
    return out


def _rule(
    replacement: Function, func: Function, x: Tensor, *args: Any, **kwargs: Any
) -> Any:
    """Evaluate the twin on a copy under the rule, and write the result to ``x``."""
    scope, twin = active_scope(), _twin(func)
    given = (x, *args, *kwargs.values())
    if scope is None or twin is None or not torch.is_grad_enabled():
        return func(x, *args, **kwargs)
    if not (carries(owner_of(x)) or any(map(carries, given))):
        return func(x, *args, **kwargs)
    before = _copied(x)
    apart, named = _apart(args, x, before), _apart(kwargs, x, before)
    result = replacement(twin, before, *apart, **named)
    if result.shape != x.shape:  # addbmm_ gives its first argument another shape
        out = func(x, *args, **kwargs)
        report(func, out)
        return out
    note = role(result)
    if before.stride() != x.stride():
        # Kernels round differently in another layout, so the function itself runs too.
        with torch.no_grad():
            func(x.detach(), *args, **kwargs)
        exact = x.detach().clone()
        result = splice(exact, result, _passed) if carries(result) else exact
    scope.__torch_function__(Tensor.copy_, (), (x, result))
    return set_role(x, note)


def _constant_apart(value: Any, x: Tensor) -> Any:
    """Copy a constant such as ``x.detach()``, whose value is a source."""
    if not isinstance(value, Tensor) or carries(value):
        return value
    return value.clone() if storage_address(value) == storage_address(x) else value


def _passed(grad: Tensor) -> Tensor:
    return grad


def _copied(x: Tensor) -> Tensor:
    copy = x.clone()
    note = role(x)
    return copy if note is None else set_role(copy, note)


def _apart(value: Any, x: Tensor, before: Tensor) -> Any:
    """Copy the arguments that lie in the memory which is about to be overwritten."""
    if isinstance(value, list | tuple):
        return tuple(_apart(item, x, before) for item in value)
    if isinstance(value, dict):
        return {key: _apart(item, x, before) for key, item in value.items()}
    if value is x:
        return before
    if isinstance(value, Tensor) and storage_address(value) == storage_address(x):
        return _copied(value)
    return value


@cache
def _twin(func: Function) -> Function | None:
    """Find ``exp`` for ``exp_``, in the same place if it is there."""
    name = func.__name__
    homes = [home for home in HOMES if getattr(home, name, None) == func]
    found = (getattr(home, name[:-1], None) for home in (*homes, *HOMES))
    return next((twin for twin in found if twin is not None), None)
