"""Which rule a module gets: registration, rule sets, lookup.

Knows types and names, no layers. The rules themselves come in through the entry-point
group ``lrp_hooks.rules``, the built-in ones included.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import entry_points
from typing import Any, ClassVar, TypeVar

from torch import nn

from .errors import ArgumentError, RegistrationError
from .rule import FunctionTable, Rule

__all__ = [
    "FAMILIES",
    "Match",
    "RuleSet",
    "add_functions",
    "as_rule",
    "common_functions",
    "load_rules",
    "lookup",
    "register",
]

FAMILIES = (
    "attention",
    "normalization",
    "activation",
    "product",
    "linear",
    "pooling",
    "embedding",
    "recurrence",
)
"""The layer families that a rule set has a rule for."""

Key = type[nn.Module] | str
RuleClass = TypeVar("RuleClass", bound=type[Rule])
Shape = Callable[[nn.Module], bool]

_entries: dict[Key, Rule | str] = {}
_shapes: list[tuple[str, Shape, str]] = []
_functions: dict[Callable[..., Any], Callable[..., Any] | None] = {}


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


def as_rule(rule: Any) -> Rule:
    """Take a rule, or make one of a rule class.

    Args:
        rule: A `Rule` instance, or a `Rule` class that can be made without arguments.

    Returns:
        The instance.

    Raises:
        RegistrationError: If it is neither.
    """
    if isinstance(rule, type) and issubclass(rule, Rule):
        return rule()
    if isinstance(rule, Rule):
        return rule
    raise RegistrationError(
        f"{rule!r} is no rule; it must be a LeafRule or ScopeRule, or its class."
    )


def add_functions(table: FunctionTable) -> None:
    """Say what torch functions are to every rule set: linear, or adding constants.

    Args:
        table: ``{torch function: replacement, or None if it is linear}``.
    """
    _functions.update(table)


def common_functions() -> FunctionTable:
    """Return the function table that every rule set is laid over."""
    return _functions


def register_shape(family: str, why: str, matches: Shape) -> None:
    """Give a family's rule to modules of unknown type by what they look like.

    Args:
        family: One of `FAMILIES`.
        why: What a coverage report says of a match.
        matches: Tells whether a module belongs to the family.
    """
    _shapes.append((family, matches, why))


@cache
def load_rules() -> None:
    """Import everything in the entry-point group ``lrp_hooks.rules``, once.

    Raises:
        RegistrationError: If the built-in rules are not among them.
    """
    modules = {
        entry.value: entry.name for entry in entry_points(group="lrp_hooks.rules")
    }
    builtin = f"{__package__}.rules"
    if builtin not in modules:
        raise RegistrationError(
            "the built-in rules are not installed: the package's metadata lists no "
            f"entry point {builtin!r}. Install it with pip (pip install -e . in a "
            "checkout)."
        )
    for value in sorted(modules, key=lambda value: value != builtin):
        try:
            importlib.import_module(value)
        except ImportError as error:
            warnings.warn(
                f"the rules of the entry point {modules[value]!r} ({value}) are left "
                f"out: {error}",
                stacklevel=2,
            )


@dataclass(frozen=True, repr=False)
class RuleSet:
    """One rule for each layer family; immutable, printed as a table.

    Attributes:
        name: How messages call it.
        registered: Whether rules registered for single types hold; only the plain
            gradient leaves them out.
        complete: Whether the ledger closes, so that its error is a failure and not an
            honest leak.
    """

    name: str
    attention: Rule
    normalization: Rule
    activation: Rule
    product: Rule
    linear: Rule
    pooling: Rule
    embedding: Rule
    recurrence: Rule
    registered: bool = True
    complete: bool = True

    _named: ClassVar[dict[str, RuleSet]] = {}

    @classmethod
    def named(cls, name: str) -> RuleSet:
        """Return the rule set of a name.

        Args:
            name: One of `RuleSet.names()`.

        Returns:
            The rule set.

        Raises:
            ArgumentError: If there is none of that name.
        """
        load_rules()
        if name not in cls._named:
            raise ArgumentError(
                f"rules={name!r} is no rule set; it must be one of "
                f"{', '.join(map(repr, cls._named))}, or a RuleSet."
            )
        return cls._named[name]

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all rule sets."""
        load_rules()
        return tuple(cls._named)

    def override(self, **families: Rule) -> RuleSet:
        """Derive a rule set in which some families have another rule.

        Args:
            **families: ``family=Rule``, as in ``override(linear=Gamma(0.1))``.

        Returns:
            A new rule set.

        Raises:
            ArgumentError: If a family does not exist or a value is no rule.
        """
        unknown = [family for family in families if family not in FAMILIES]
        if unknown:
            raise ArgumentError(
                f"override({unknown[0]}=...) names no layer family; it must be one of "
                f"{', '.join(FAMILIES)}."
            )
        rules = {family: as_rule(rule) for family, rule in families.items()}
        name = self.name + "".join(f" + {family}={r!r}" for family, r in rules.items())
        return replace(self, name=name, **rules)  # type: ignore[arg-type]

    def save_as(self, name: str) -> RuleSet:
        """Make this rule set available under a name.

        Args:
            name: The name, for `RuleSet.named` and ``instrument(rules=...)``.

        Returns:
            The rule set under that name.

        Raises:
            RegistrationError: If the name is taken.
        """
        if name in self._named:
            raise RegistrationError(f"a rule set named {name!r} exists already.")
        self._named[name] = replace(self, name=name)
        return self._named[name]

    def functions(self) -> FunctionTable:
        """Return the function table of all families together."""
        table = dict(common_functions())
        for family in FAMILIES:
            table.update(getattr(self, family).functions(None))
        return table

    def __repr__(self) -> str:
        """Return a table: one line a family."""
        lines = [f"RuleSet {self.name!r}"]
        lines += [f"  {family:<14} {getattr(self, family)!r}" for family in FAMILIES]
        return "\n".join(lines)


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
    for the exact type, for its base classes in order, for a class name; then what the
    module looks like.

    Args:
        name: The module's qualified name.
        module: The module.
        rules: The rule set in force.
        overrides: ``{module, glob or type: rule}``.

    Returns:
        The match, or None: then only the rules of the functions it calls hold.
    """
    match = _override(name, module, overrides) or _registered(module, rules)
    return match and replace(match, rule=match.rule.at(module))


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


def _registered(module: nn.Module, rules: RuleSet) -> Match | None:
    bases = type(module).__mro__
    keys: list[tuple[Any, str]] = [(base, base.__name__) for base in bases]
    keys += [(qualified_name(base), qualified_name(base)) for base in bases]
    for key, label in keys:
        entry = _entries.get(key)
        if isinstance(entry, str):
            return Match(getattr(rules, entry), f"{entry}: {label}", entry)
        if entry is not None and rules.registered:
            return Match(entry, f"registered for {label}")
    for family, matches, why in _shapes:
        if matches(module):
            return Match(getattr(rules, family), f"{family}: {why}", family)
    return None
