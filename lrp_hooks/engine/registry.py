"""Which rule a module gets: registration and lookup.

Knows types and names, no layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

from ..errors import RegistrationError
from .registrations import kept
from .rule import Rule, as_rule
from .ruleset import FAMILIES, RuleSet

__all__ = ["Match", "lookup", "qualified_name", "register", "register_shape"]

Key = type[nn.Module] | str
RuleClass = TypeVar("RuleClass", bound=type[Rule])
Shape = Callable[[nn.Module], bool]

_entries: dict[Key, Rule | str] = kept({})
_shapes: list[tuple[str, Shape, str]] = kept([])


def register(
    *keys: Key, family: str | None = None, overwrite: bool = False
) -> Callable[[RuleClass], RuleClass]:
    """Register a rule for module types, or module types as members of a family.

    As a decorator of a `Rule`, ``@register(MyLayer)``: these types have this rule in
    every rule set but ``"gradient"``. With ``family=``, a plain call: these types get
    whatever the rule set in force says of that family.

    Args:
        *keys: Module types, or ``"package.module.ClassName"`` for types that should not
            be imported for this.
        family: One of `FAMILIES`.
        overwrite: Replace what is registered under a key. Defaults to ``False``.

    Returns:
        The decorator, which returns the rule class unchanged.

    Raises:
        RegistrationError: If a key is no module type or name, is taken, or if the
            family does not exist.
    """
    _check_keys(keys, overwrite)
    if family is not None:
        if family not in FAMILIES:
            raise RegistrationError(
                f"family={family!r} is no layer family; it must be one of "
                f"{', '.join(FAMILIES)}."
            )
        _entries.update(dict.fromkeys(keys, family))

    def decorate(rule: RuleClass) -> RuleClass:
        if family is not None:
            raise RegistrationError(
                f"register(..., family={family!r}) takes no rule: call it without "
                f"decorating {getattr(rule, '__name__', rule)!r}, or leave family out."
            )
        _entries.update(dict.fromkeys(keys, as_rule(rule)))
        return rule

    return decorate


def _check_keys(keys: Iterable[Key], overwrite: bool) -> None:
    keys = tuple(keys)
    if not keys:
        raise RegistrationError(
            "register() came without a key; name the module types that the rule is "
            "for, as in @register(MyLayer)."
        )
    for key in keys:
        is_type = isinstance(key, type) and issubclass(key, nn.Module)
        is_name = isinstance(key, str) and all(map(str.isidentifier, key.split(".")))
        if not (is_type or (is_name and "." in str(key))):
            raise RegistrationError(
                f"register() came with the key {key!r}; it must be an nn.Module type "
                'or a name such as "package.module.ClassName".'
            )
        if key in _entries and not overwrite:
            raise RegistrationError(
                f"{_describe(key)} is registered already, as {_entries[key]!r}; pass "
                "overwrite=True to replace it."
            )


def _describe(key: Key) -> str:
    return key if isinstance(key, str) else qualified_name(key)


def qualified_name(kind: type) -> str:
    """Return ``"package.module.ClassName"`` of a type."""
    return f"{kind.__module__}.{kind.__qualname__}"


def register_shape(family: str, why: str, matches: Shape) -> None:
    """Give a family's rule to modules of unknown type by what they look like.

    Args:
        family: One of `FAMILIES`.
        why: What a coverage report says of a match.
        matches: Tells whether a module belongs to the family.
    """
    _shapes.append((family, matches, why))


@dataclass(frozen=True)
class Match:
    """The rule that a module got, and why."""

    rule: Rule
    why: str
    family: str | None = None
    overridden: bool = False


def lookup(
    name: str,
    module: nn.Module,
    rules: RuleSet,
    overrides: Mapping[Any, Rule],
) -> Match | None:
    """Find a module's rule.

    The order: the overrides by instance, name glob and type; then what is registered
    for the exact type or its name, and for its base classes in order; then what the
    module looks like.

    Args:
        name: The module's qualified name.
        module: The module.
        rules: The rule set in force.
        overrides: ``{module, glob or type: rule}``.

    Returns:
        The match, or None: then only the rules of the functions it calls hold.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return None  # its forward is no Python, nor are those of its parts
    overridden = _override(name, module, overrides) if overrides else None
    match = overridden or _registered(module, rules)
    if match is None:
        return None
    own = match.rule.at(module)
    return match if own is match.rule else replace(match, rule=own)


def _override(
    name: str, module: nn.Module, overrides: Mapping[Any, Rule]
) -> Match | None:
    for key, rule in overrides.items():
        if key is module:
            return Match(rule, "overridden for this instance", overridden=True)
    for key, rule in overrides.items():
        if isinstance(key, str) and fnmatchcase(name, key):
            return Match(rule, f"overridden by name {key!r}", overridden=True)
    for base in type(module).__mro__:
        if base in overrides:
            why = f"overridden by type {base.__name__}"
            return Match(overrides[base], why, overridden=True)
    return None


def _keys(kind: type) -> list[tuple[Key, str]]:
    """List what a rule for a type may be registered under, and what that is called."""
    known = _known_keys.get(kind)
    if known is None:
        known = _known_keys[kind] = []
        for base in kind.__mro__:
            name = qualified_name(base)
            known += [(base, base.__name__), (name, name)]
    return known


_known_keys: WeakKeyDictionary[type, list[Any]] = WeakKeyDictionary()


def _registered(module: nn.Module, rules: RuleSet) -> Match | None:
    for key, label in _keys(type(module)):
        entry = _entries.get(key)
        if isinstance(entry, str):
            return Match(getattr(rules, entry), f"{entry}: {label}", entry)
        if entry is not None and rules.registered:
            return Match(entry, f"registered for {label}")
    for family, matches, why in _shapes:
        if matches(module):
            return Match(getattr(rules, family), f"{family}: {why}", family)
    return None
