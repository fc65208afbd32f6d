"""Whether values are what type hints say."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import (
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

__all__ = ["hints_of", "misfit"]


def hints_of(kind: type) -> dict[str, Any]:
    """Resolve the type hints of a class.

    Args:
        kind: The class.

    Returns:
        ``{field: hint}``; empty where a hint names what cannot be found at run time.
    """
    try:
        return get_type_hints(kind, include_extras=True)
    except (NameError, AttributeError, TypeError):
        return {}


def misfit(value: object, hint: Any, where: str) -> str | None:
    """Find what is not of the type that a hint says.

    Args:
        value: Any value.
        hint: A class, or classes in unions, lists, tuples and mappings; of
            ``Annotated`` with a ``TypedDict``, keys that it knows have its types.
        where: What the value is called.

    Returns:
        What is wrong, in a few words; None where the value fits.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return None
    if origin is Annotated:
        return misfit(value, inner[0], where) or _misfit_keys(value, inner[1:], where)
    if origin in {Union, types.UnionType}:
        fits = any(misfit(value, one, where) is None for one in inner)
        return None if fits else _said(value, hint, where)
    if origin is Literal:
        return None if value in inner else _said(value, hint, where)
    if not _is(value, origin or hint):
        return _said(value, hint, where)
    return _misfit_entries(value, inner, where)


def _is(value: object, kind: Any) -> bool:
    """Return whether a value is of a class; whole numbers are fractions, too."""
    if not isinstance(kind, type) or is_typeddict(kind):
        return True
    if isinstance(value, bool) and kind in {int, float}:
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _misfit_entries(value: Any, inner: tuple[Any, ...], where: str) -> str | None:
    """Look into lists, tuples and mappings."""
    pairs: list[tuple[Any, Any, str]] = []
    if isinstance(value, Mapping) and len(inner) == 2:
        for key, own in value.items():
            pairs += [(key, inner[0], f"a key of {where}"), (own, inner[1], where)]
    elif isinstance(value, tuple) and inner and inner[-1] is not ...:
        if len(value) != len(inner):
            return f"{where} has {len(value)} entries, not {len(inner)}"
        pairs = [(own, hint, where) for own, hint in zip(value, inner, strict=True)]
    elif isinstance(value, Sequence) and inner and not isinstance(value, str):
        pairs = [(own, inner[0], where) for own in value]
    found = (misfit(own, hint, f"an entry of {name}") for own, hint, name in pairs)
    return next((wrong for wrong in found if wrong is not None), None)


def _misfit_keys(value: Any, notes: tuple[Any, ...], where: str) -> str | None:
    """Look at the keys that a ``TypedDict`` knows."""
    known = {
        k: h for note in notes if is_typeddict(note) for k, h in hints_of(note).items()
    }
    found = (
        misfit(value[key], hint, f"{where}[{key!r}]")
        for key, hint in known.items()
        if key in value
    )
    return next((wrong for wrong in found if wrong is not None), None)


def _said(value: object, hint: Any, where: str) -> str:
    name = hint.__name__ if isinstance(hint, type) else str(hint)
    return f"{where} is a {type(value).__name__}, no {name}"
