"""Rule sets: one rule a layer family, by name.

The rules come in through the entry-point group ``lrp_hooks.rules``, the built-in ones
included.
"""

from __future__ import annotations

import importlib
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from importlib.metadata import entry_points
from typing import Any, ClassVar

from ..errors import ArgumentError, LrpHooksWarning, RegistrationError
from ..support.suggest import did_you_mean
from .registrations import all_or_nothing, kept
from .rule import FunctionTable, Rule, as_rule
from .writes import rule_table, written

__all__ = ["FAMILIES", "RuleSet", "add_functions", "common_functions", "load_rules"]

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

_functions: dict[Callable[..., Any], Callable[..., Any] | None] = kept({})


def add_functions(table: FunctionTable) -> None:
    """Say what torch functions are to every rule set: linear, or adding constants.

    Args:
        table: ``{torch function: replacement, or None if it is linear}``.
    """
    _functions.update(table)


def common_functions() -> FunctionTable:
    """Return the function table that every rule set is laid over."""
    return _functions


class _Loading(threading.local):
    running = False


_loading = _Loading()
_loaded: list[str] = []


def load_rules() -> None:
    """Import everything in the entry-point group ``lrp_hooks.rules``, once.

    What cannot be imported is left out, with a warning, and has registered nothing;
    without the built-in rules nothing works, which is a `RegistrationError`.
    """
    if _loaded or _loading.running:  # rules may ask for rule sets when imported
        return
    try:
        _loading.running = True
        _load()
    finally:
        _loading.running = False


def _load() -> None:
    modules = {
        entry.value: entry.name for entry in entry_points(group="lrp_hooks.rules")
    }
    builtin = f"{__name__.partition('.')[0]}.rules"
    if builtin not in modules:
        raise RegistrationError(
            "the built-in rules are not installed: the package's metadata lists no "
            f"entry point {builtin!r}. Install it with pip (pip install -e . in a "
            "checkout)."
        )
    try:
        with all_or_nothing(*modules):
            importlib.import_module(builtin)
    except Exception as error:
        raise RegistrationError(
            f"the built-in rules cannot be imported: {type(error).__name__}: {error}. "
            "Install the package again."
        ) from error
    for value in sorted(modules.keys() - {builtin}):
        try:
            with all_or_nothing(*modules):
                importlib.import_module(value)
        except (Exception, SystemExit) as error:  # it is not ours to end the program
            warnings.warn(
                f"the rules of the entry point {modules[value]!r} ({value}) are left "
                f"out: {type(error).__name__}: {error}",
                LrpHooksWarning,
                stacklevel=4,
            )
    _loaded.extend(modules)


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

    _named: ClassVar[dict[str, RuleSet]] = kept({})

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
                f"{did_you_mean(name, cls._named)}"
            )
        return cls._named[name]

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all rule sets."""
        load_rules()
        return tuple(cls._named)

    @property
    def plain(self) -> bool:
        """Whether every family is left to autograd."""
        own = self.named("gradient")
        return all(getattr(self, f) is getattr(own, f) for f in FAMILIES)

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

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as a description; what has a name is the one of that name."""
        return (_described, tuple(getattr(self, f.name) for f in fields(self)))

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
        """Return the function table of all families together.

        A rule that only says something of modules leaves the functions of its family to
        the default.
        """
        table = dict(written(common_functions(), ruled=False))
        default = self.named("conservative")
        for family in FAMILIES:
            own = rule_table(getattr(self, family), None)
            table.update(own or rule_table(getattr(default, family), None))
        return table

    def __repr__(self) -> str:
        """Return a table: one line a family."""
        lines = [f"RuleSet {self.name!r}"]
        lines += [f"  {family:<14} {getattr(self, family)!r}" for family in FAMILIES]
        return "\n".join(lines)


def _described(name: str, *settings: Any) -> RuleSet:
    """Return the rule set of a description, where it is known under its name."""
    load_rules()
    made, known = RuleSet(name, *settings), RuleSet._named.get(name)
    return known if known is not None and _alike(known, made) else made


def _alike(one: RuleSet, other: RuleSet) -> bool:
    """Tell whether two rule sets have the same rules with the same settings."""
    kinds = [[type(getattr(s, f)) for f in FAMILIES] for s in (one, other)]
    flags = [(s.registered, s.complete) for s in (one, other)]
    return kinds[0] == kinds[1] and flags[0] == flags[1] and repr(one) == repr(other)
