"""Layer-wise relevance propagation."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ..attribution.instrument import Instrumentation, instrument
from ..attribution.sharing import repeating
from ..engine.rule import Rule
from ..engine.ruleset import RuleSet
from ..results.relevance import Relevance
from .base import Explainer

__all__ = ["LRP", "keeping_instrumented"]


@dataclass
class _Kept:
    """What stays instrumented: how, and what takes it off again."""

    stack: ExitStack
    made: dict[Any, Instrumentation] = field(default_factory=dict)


_kept: ContextVar[_Kept | None] = ContextVar("_kept", default=None)


@contextmanager
def keeping_instrumented() -> Generator[None]:
    """Leave models instrumented between the calls of `LRP`, for there are many.

    Yields:
        Nothing; at the end every model is as it was.
    """
    with ExitStack() as stack:
        token = _kept.set(_Kept(stack))
        try:
            yield
        finally:
            _kept.reset(token)


class LRP(Explainer):
    """Relevance by one forward and one backward pass of the instrumented model."""

    reads_sides = True

    def __init__(
        self,
        model: nn.Module,
        rules: str | RuleSet = "conservative",
        overrides: Mapping[Any, Rule] | None = None,
        strict: bool = False,
        wrt: str | Sequence[str] | None = None,
        layers: str | Sequence[str] = (),
        low_memory: bool = False,
        batch_dim: int | None = None,
    ) -> None:
        """Remember the model and how to instrument it.

        Args:
            model: Any module; it is instrumented during a call and restored after it.
            rules: A rule set or its name. Defaults to ``"conservative"``.
            overrides: Rules laid over the rule set, by module, name glob or type.
            strict: Whether a module without a rule is an error. Defaults to ``False``:
                one warning names them all.
            wrt: Where relevance is read: the name of a module or of an input, or
                several. Defaults to all inputs that carry content; ``explain`` reads
                both sides of an encoder-decoder.
            layers: Where relevance is returned as well, as for
                ``Instrumentation.attribute``: module names, ``"heads"`` or
                ``"blocks"``. Defaults to none.
            low_memory: Run the model's blocks again in the backward pass and keep less
                of them, as for ``Instrumentation.attribute``. Defaults to ``False``.
            batch_dim: Which axis of the inputs counts the examples, 1 for ``[S, B]``.
                Defaults to ``None``: what a rule of the model's says, else 0.
        """
        super().__init__(model)
        self.rules = rules
        self.overrides = overrides
        self.strict = strict
        self.wrt = wrt
        self.layers = layers
        self.low_memory = low_memory
        self.batch_dim = batch_dim

    def __call__(self, inputs: Any, target: Any = None) -> Relevance:
        """Explain one output of each example.

        Args:
            inputs: A tensor, a tuple of tensors or a mapping of keyword arguments.
            target: As ``Instrumentation.attribute`` takes it.

        Returns:
            Relevance, with the ledger of the whole output.
        """
        again = _kept.get() is not None
        with self._instrumented() as lrp, repeating(again):
            relevance = lrp.attribute(
                inputs,
                target=target,
                wrt=self.wrt,
                layers=self.layers,
                low_memory=self.low_memory,
                batch_dim=self.batch_dim,
            )
        relevance.method = "lrp"
        name = self.rules if isinstance(self.rules, str) else self.rules.name
        relevance.meta["rules"] = name
        return relevance

    def _instrumented(self) -> AbstractContextManager[Instrumentation]:
        """Instrument the model for a call, or for as long as it is kept so."""

        def put_on() -> Instrumentation:
            return instrument(
                self.model, self.rules, overrides=self.overrides, strict=self.strict
            )

        kept = _kept.get()
        if kept is None:
            return put_on()
        rules = self.rules if isinstance(self.rules, str) else id(self.rules)
        how = (id(self.model), id(self.overrides), rules, self.strict)
        if how not in kept.made:
            kept.made[how] = kept.stack.enter_context(put_on())
        return nullcontext(kept.made[how])
