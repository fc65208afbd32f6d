"""What replacements of torch functions tell: sources, gates, roles, failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .autograd import carries
from .sources import Constant, Gate
from .stack import active_scope
from .surroundings import storage_address

__all__ = [
    "is_number",
    "report",
    "role",
    "set_role",
    "trainable",
    "under_rules",
    "watch_gate",
    "watch_source",
]


def is_number(value: object) -> bool:
    """Tell floats from masks and indices; some functions have no derivative at all.

    Args:
        value: What a function returned.

    Returns:
        True for real and complex tensors, and for sequences that hold one.
    """
    if isinstance(value, list | tuple):
        return any(is_number(item) for item in value)
    return isinstance(value, Tensor) and (
        value.is_floating_point() or value.is_complex()
    )


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
        named = constant if of is None else of
        name = scope.constants.name_source(named)
        if getattr(named, "_lrp_lent", False) and isinstance(constant, Tensor):
            constant = constant.clone()  # whoever lent it may free it
        scope.collector.watch(out, constant, name)


def report(func: Callable[..., Any] | str, result: object) -> None:
    """Say that a function bends relevance in a way that no rule covers.

    For replacements of torch functions that cover some arguments and not others.

    Args:
        func: The function, or what is to be said of it.
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
