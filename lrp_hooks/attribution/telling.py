"""What an instrumentation tells of: functions without a rule, weights asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ..engine.coverage import Coverage
from ..errors import UnruledError, UnruledWarning, WeightGradientWarning

__all__ = ["Telling"]


class Telling:
    """Warns of each thing once; raises where that was asked for."""

    def __init__(self, rules: str, coverage: Coverage, strict: bool) -> None:
        """Start with nothing told.

        Args:
            rules: The name of the rule set in force.
            coverage: Where functions without a rule are entered.
            strict: Whether to raise instead of warning.
        """
        self._rules = rules
        self._coverage = coverage
        self._strict = strict
        self._warned: set[tuple[str, str]] = set()
        self._told_of_weights = False

    def report(self, func: Callable[..., Any] | str, module: str) -> None:
        """Enter a function without a rule; `settled` warns of it.

        Args:
            func: The function.
            module: The module that called it.

        Raises:
            UnruledError: If that was asked for.
        """
        label = func if isinstance(func, str) else func.__qualname__
        self._coverage.unruled.add((label, module))
        if self._strict:
            raise UnruledError(
                f"{label}, called by {module or 'the model'}, bends relevance and has "
                f"no rule. {_REMEDY}"
            )

    def complain(self, message: str) -> None:
        """Warn that numbers do not say what they seem to.

        Args:
            message: Why not.

        Raises:
            UnruledError: If that was asked for.
        """
        if self._strict:
            raise UnruledError(message)
        warnings.warn(message, UnruledWarning, stacklevel=2)

    def weights_asked(self) -> None:
        """Warn, once, that weights are constants."""
        if not self._told_of_weights:
            self._told_of_weights = True
            warnings.warn(
                f"a backward pass asked for gradients of weights while rules "
                f"{self._rules!r} were in force: weights are constants there, and "
                "got none. Train after remove(), or with rules='gradient'; for "
                "relevance alone use torch.autograd.grad(output, inputs).",
                WeightGradientWarning,
                stacklevel=2,
            )

    def settled(self) -> None:
        """Warn of the functions that were reported since the last time."""
        new = self._coverage.unruled - self._warned
        if new and not self._strict:
            self._warned |= new
            calls = ", ".join(f"{f} (in {m or 'the model'})" for f, m in sorted(new))
            warnings.warn(
                f"without a rule, left to their own gradient: {calls}. {_REMEDY}",
                UnruledWarning,
                stacklevel=2,
            )


_REMEDY = (
    "Register a ScopeRule whose functions() names it, or a LeafRule for the module "
    "(lrp_hooks.register)."
)
