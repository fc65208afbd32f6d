"""The model behind a forward function, instrumented while an attribution runs."""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.instrument import Instrumentation, instrument
from ..attribution.passes import eval_mode
from ..engine.acceptance import Key
from ..engine.hooks import unhooked
from ..engine.rule import Rule
from ..engine.ruleset import RuleSet
from ..engine.sources import SourceCollector
from ..errors import AlreadyInstrumentedError, ArgumentError, InferenceModeError

__all__ = ["Twin", "owner"]

# A call that finds another's instrumentation must not lose it halfway through.
_one_at_a_time = threading.RLock()
_made: weakref.WeakKeyDictionary[Instrumentation, Twin] = weakref.WeakKeyDictionary()


class _NoLedger(SourceCollector):
    """Has the rules see all that they see in `Instrumentation.attribute`; no notes."""

    def watch(self, out: Tensor, constant: Any, name: str) -> None:
        """Note nothing."""

    def add(self, name: str, terms: Tensor, share: Any = None) -> None:
        """Note nothing."""


@dataclass(frozen=True)
class Twin:
    """A model, and how it is instrumented where it is not yet.

    Attributes:
        model: The model.
        rules: A rule set or its name; None for what is in force, else conservative.
        overrides: See `instrument`.
        strict: See `instrument`.
    """

    model: nn.Module
    rules: RuleSet | str | None
    overrides: Mapping[Key, Rule] | None
    strict: bool

    def __post_init__(self) -> None:
        """Refuse the name of a rule set that does not exist."""
        if isinstance(self.rules, str):
            RuleSet.named(self.rules)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle with a plain model, also while it is instrumented."""
        return (_again, (self.model, self.rules, self.overrides, self.strict))

    @contextmanager
    def active(self) -> Generator[Instrumentation]:
        """Have the rules in force, in eval mode, with gradients on.

        Yields:
            The instrumentation.

        Raises:
            InferenceModeError: Under ``torch.inference_mode()``.
        """
        if torch.is_inference_mode_enabled():
            raise InferenceModeError(
                "attribute() was called under torch.inference_mode(), which records no "
                "graph; call it outside, torch.no_grad() is fine."
            )
        with _one_at_a_time, torch.enable_grad(), eval_mode(self.model):
            lrp, own = self._instrumentation()
            before, lrp.runtime.collector = lrp.runtime.collector, _NoLedger(1, None)
            try:
                yield lrp
            finally:
                lrp.runtime.collector = before
                lrp.runtime.abandon()
                if own:
                    lrp.remove()

    def _instrumentation(self) -> tuple[Instrumentation, bool]:
        """Instrument the model, or find what did; tell whether to remove it."""
        rules = "conservative" if self.rules is None else self.rules
        try:
            made = instrument(
                self.model, rules, overrides=self.overrides, strict=self.strict
            )
        except AlreadyInstrumentedError as error:
            return self._in_force(error), False
        _made[made] = self
        return made, True

    def _in_force(self, error: AlreadyInstrumentedError) -> Instrumentation:
        found: Instrumentation | None = error.instrumentation
        whole = None if found is None else found.model
        if (
            found is None
            or whole is None
            or all(module is not self.model for module in whole.modules())
        ):
            raise AlreadyInstrumentedError(
                f"only a part of {type(self.model).__name__} is instrumented, so the "
                "rest would have no rules; instrument the whole of it, or call "
                "attribute() outside, where it instruments the model by itself.",
                found,
            ) from error
        if _made.get(found) is self:  # a call inside a call
            return found
        rules = self.rules
        rules = RuleSet.named(rules) if isinstance(rules, str) else rules
        other = rules is not None and rules != found.rules
        if other or self.overrides or self.strict:
            asked = f"rules={self.rules!r} asks" if other else "overrides or strict ask"
            raise ArgumentError(
                f"the model is instrumented with the rules {found.rules.name!r}, and "
                f"{asked} for something else; say so to instrument(), or call "
                "attribute() outside."
            ) from error
        return found


def _again(model: nn.Module, *settings: Any) -> Twin:
    return Twin(unhooked(model), *settings)


def owner(forward_func: Any) -> tuple[nn.Module, Any]:
    """Find the module that a forward function belongs to.

    Args:
        forward_func: A module or a bound method of one.

    Returns:
        The module, and what is to be called: the module itself in place of its
        ``forward``, which does not run the module's hooks.

    Raises:
        ArgumentError: If it is neither.
    """
    if isinstance(forward_func, nn.Module):
        return forward_func, forward_func
    if inspect.ismethod(forward_func):
        module = forward_func.__self__
        if isinstance(module, nn.Module):
            is_forward = forward_func.__name__ == "forward"
            return module, module if is_forward else forward_func
    module = getattr(getattr(forward_func, "__wrapped__", None), "__self__", None)
    if isinstance(module, nn.Module) and vars(module).get("forward") is forward_func:
        return module, module  # a forward that something put in the class's place
    raise ArgumentError(
        f"forward_func is a {type(forward_func).__name__}; it must be a "
        "torch.nn.Module or a bound method of one, for its modules are hooked. Put the "
        "model and what you do with its output into a torch.nn.Module (outputs with "
        ".logits need none), or use captum.attr.InputXGradient inside `with "
        "instrument(model)`."
    )
