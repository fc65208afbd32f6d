"""`instrument`: hook a model so that autograd differentiates its linearised twin."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from ..engine.acceptance import Key, check_compiled, checked_overrides
from ..engine.attachment import attach
from ..engine.coverage import Coverage, row
from ..engine.hooks import unhooked
from ..engine.registry import lookup
from ..engine.rule import Rule
from ..engine.ruleset import RuleSet, load_rules
from ..engine.runtime import Runtime
from ..engine.sharding import check_ranks
from ..engine.stack import aside
from ..engine.subject import Subject
from ..engine.surroundings import Surroundings
from ..engine.undo import Undo, undoing
from ..engine.wrappers import unwrapped
from ..errors import ArgumentError
from ..results.relevance import Relevance
from ..support.folders import how_to_load
from . import attribute as _attribute
from . import audit as _audit
from .audit import Audit
from .checkpointing import checkpointed
from .claims import claim
from .telling import Telling

__all__ = ["Instrumentation", "instrument"]


def instrument(
    model: nn.Module,
    rules: RuleSet | str = "conservative",
    *,
    overrides: Mapping[Key, Rule] | None = None,
    strict: bool = False,
) -> Instrumentation:
    """Hook a model, in place and reversibly, so that gradients are relevance.

    Outputs stay bit-identical. Until `Instrumentation.remove`, ``x.grad * x`` is the
    relevance of ``x`` for any tool that takes a gradient.

    Args:
        model: Any module. Of ``DistributedDataParallel`` it is the module inside; names
            are those without wrappers. Where parameters are spread over ranks (tensor
            parallel, ``fully_shard``), all ranks call alike, with as many examples.
        rules: A rule set or its name: ``"conservative"``, ``"ah+ln"``, ``"cp-lrp"``,
            ``"attnlrp"``, ``"ah"``, ``"ln"`` or ``"gradient"``.
        overrides: ``{key: rule}`` laid over the rule set for this model only; a key is
            a module instance, a glob over qualified names, or a module type.
        strict: Raise where something bends relevance and has no rule, or the ledger of
            a rule set that loses nothing does not close, instead of warning.

    Returns:
        The instrumentation, a context manager that removes it.

    Raises:
        ArgumentError: If an argument is not as described.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"model is a {type(model).__name__}; it must be a torch.nn.Module."
            f"{how_to_load(model)}"
        )
    model = unwrapped(model)
    check_compiled(model)
    check_ranks(model)
    load_rules()
    if not isinstance(rules, RuleSet):
        if not isinstance(rules, str):
            raise ArgumentError(
                f"rules is a {type(rules).__name__}; it must be a RuleSet or a name: "
                f"{', '.join(map(repr, RuleSet.names()))}."
            )
        rules = RuleSet.named(rules)
    checked = checked_overrides(model, overrides or {})
    return Instrumentation(model, rules, checked, strict)


class Instrumentation:
    """An instrumented model: attribute, inspect, remove.

    Attributes:
        rules: The rule set in force.
        coverage: Which module got which rule, and what has none.
    """

    def __init__(
        self,
        model: nn.Module,
        rules: RuleSet,
        overrides: Mapping[Key, Rule],
        strict: bool,
    ) -> None:
        """Attach the hooks; use `instrument`.

        Args:
            model: The model.
            rules: The rule set.
            overrides: See `instrument`.
            strict: See `instrument`.
        """
        self.rules = rules
        self._strict = strict
        self._overrides = overrides
        self._lock = threading.RLock()
        self._undo = Undo()
        self._subject: Subject | None = None
        try:
            self._put_on(model, overrides)
        except BaseException:
            self._undo.run()
            raise

    def _put_on(self, model: nn.Module, overrides: Mapping[Key, Rule]) -> None:
        self._subject = Subject(model)
        modules = self._subject.modules
        claim(modules, self, self._undo)
        found = {n: lookup(n, m, self.rules, overrides) for n, m in modules.items()}
        self.coverage = Coverage(tuple(row(n, m, found[n]) for n, m in modules.items()))
        telling = Telling(self.rules.name, self.coverage, self._strict)
        self._complain = telling.complain
        surroundings = Surroundings.of(model, self.rules.functions(), telling.report)
        surroundings.state.owner = self  # whoever loses it can ask the model for it
        own = found.get("")
        self._batch_dim = 0 if own is None else own.rule.batch_dim
        plain = self.rules.plain and not overrides
        self.runtime = Runtime(
            surroundings, telling.settled, telling.weights_asked, plain
        )
        attach(modules, found, self.runtime, self._undo)

    @property
    def model(self) -> nn.Module | None:
        """The model; None after `remove`, which keeps nothing alive."""
        return None if self._subject is None else self._subject.model

    def attribute(
        self,
        inputs: Tensor | Sequence[Tensor] | Mapping[str, Any],
        target: Any = None,
        *,
        wrt: str | Sequence[str] | None = None,
        layers: str | Sequence[str] = (),
        batch_dim: int | None = None,
        low_memory: bool = False,
    ) -> Relevance:
        """Explain outputs: one forward pass, one backward pass.

        Runs in eval mode, also under ``torch.no_grad()``, and leaves grad mode,
        ``.grad`` fields and training flags as they are.

        Args:
            inputs: A tensor, a tuple of tensors, or a mapping of keyword arguments
                such as a tokenizer's output; or the one argument of a model that takes
                a mapping, a dataclass or a tuple.
            target: What is explained: None (the arg-max class; for [B, T, V] logits
                the arg-max token at the last attended position; the surest box of a
                detector, and what is usual of other tasks), an int, B ints, a
                label of ``model.config.label2id``, a `Contrast`, or a function from
                the model's output to [B], linear if its relevance is to add up.
            wrt: Where relevance is read: by default every input that carries content,
                floats themselves and token ids at the input embedding, but masks,
                positions and what a decoder has said; or the name of a module whose
                output is read, or that of an input, such as ``"decoder_input_ids"``
                (of token ids, their embeddings); or several. Where inputs are read
                beside the main one, the ledger has no positions.
            layers: Names of modules whose output's relevance is returned as well, or
                one name; ``"heads"`` for every attention head, [B, H, T, D] for each
                attention, ``"<module>.heads"`` for those inside a module, and
                ``"blocks"`` for the residual stream after each block. See `heads` and
                `layer_flow`.
            batch_dim: Which axis of the inputs counts the examples: 1 for [T, B, D].
                Values and scores start with the examples all the same. Defaults to
                ``None``: what a rule of the model's says, else 0.
            low_memory: Keep no more than the inputs of the model's blocks, and run each
                block again in the backward pass: the same numbers for one more forward
                pass. Defaults to ``False``.

        Returns:
            The relevance and its ledger.
        """
        names = (layers,) if isinstance(layers, str) else tuple(layers)
        request = _attribute.Request(
            inputs, target, wrt, names, self._complain, self._along(batch_dim)
        )
        with (
            self._running("attribute") as subject,
            checkpointed(subject.model, names) if low_memory else nullcontext(),
        ):
            return _attribute.attribute(subject, self.runtime, self.rules, request)

    def attribute_each(
        self,
        inputs: Tensor | Sequence[Tensor] | Mapping[str, Any],
        *,
        wrt: str | Sequence[str] | None = None,
        layers: str | Sequence[str] = (),
        batch_dim: int | None = None,
    ) -> list[Relevance]:
        """Explain every output: one forward pass, one backward pass an output.

        Args:
            inputs: See `attribute`.
            wrt: See `attribute`.
            layers: See `attribute`.
            batch_dim: See `attribute`.

        Returns:
            The relevance of each class, C of them.
        """
        names = (layers,) if isinstance(layers, str) else tuple(layers)
        request = _attribute.Request(
            inputs, None, wrt, names, self._complain, self._along(batch_dim)
        )
        with self._running("attribute_each") as subject:
            return _attribute.attribute_each(subject, self.runtime, self.rules, request)

    def audit(
        self,
        inputs: Tensor | Sequence[Tensor] | Mapping[str, Any],
        target: Any = None,
        *,
        batch_dim: int | None = None,
    ) -> Audit:
        """Find where relevance leaks: one forward pass, one backward pass.

        Args:
            inputs: See `attribute`.
            target: See `attribute`.
            batch_dim: See `attribute`.

        Returns:
            Relevance entering and leaving every module, its bias share and its leak;
            the first row is the module that needs a rule.
        """
        request = _attribute.Request(
            inputs, target, None, (), self._complain, self._along(batch_dim)
        )
        with self._running("audit") as subject:
            return _audit.audit(
                subject, self.runtime, self.rules, self.coverage, request
            )

    def _along(self, batch_dim: int | None) -> int:
        """Return the axis that counts the examples."""
        return self._batch_dim if batch_dim is None else batch_dim

    @contextmanager
    def _running(self, method: str) -> Generator[Subject]:
        with undoing() as undo:
            undo.hold(self._lock)
            subject = self._subject
            if subject is None:
                raise ArgumentError(
                    f"{method}() was called after remove(); instrument the model again."
                )
            aside(undo)
            undo.add(self.runtime.resetting())
            try:
                yield subject
            except SystemError as error:  # torch makes one of an interrupt in a node
                if isinstance(error.__cause__, KeyboardInterrupt):
                    raise error.__cause__ from None
                raise

    def remove(self) -> None:
        """Leave the model exactly as it was; may be called twice.

        Waits for what another thread is computing with it.
        """
        with undoing() as undo:
            undo.hold(self._lock)
            undo.add(self._take_off)

    def _take_off(self) -> None:
        self.runtime.abandon()
        self._undo.run()
        self._subject = None
        self._overrides = {}

    def __enter__(self) -> Instrumentation:
        """Return self; the rules are active already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the instrumentation."""
        self.remove()

    def __repr__(self) -> str:
        """Return the rule set in force and the coverage."""
        state = "active" if self._subject else "removed"
        kind = self.coverage.rows[0].kind
        return f"{kind}, rules {self.rules.name!r}, {state}\n{self.coverage!r}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as the plain model and its rules, hooked where it lands.

        Returns:
            What makes it again.

        Raises:
            ArgumentError: After `remove`, which leaves nothing to copy.
        """
        if self._subject is None:
            raise ArgumentError(
                "an instrumentation was copied or pickled after remove(), so it has no "
                "model; do that before, or copy the model."
            )
        given = (self._subject.model, self.rules, self._overrides, self._strict)
        return (_instrumented_again, given)


def _instrumented_again(
    model: nn.Module, rules: RuleSet, overrides: Mapping[Key, Rule], strict: bool
) -> Instrumentation:
    """Instrument the copy of a model."""
    return instrument(unhooked(model), rules, overrides=overrides, strict=strict)
