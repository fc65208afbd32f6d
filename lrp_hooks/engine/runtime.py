"""What the hooks of one instrumented model share: the scope that they open."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InferenceModeError, UnsupportedModelError
from .autograd import carries
from .foreign import crosses_threads, depends, foreign_functions, nodes
from .nested import all_tensors, first_tensor, replace_floats
from .recompute import next_node
from .scope import Scope
from .sources import SourceCollector
from .splicing import watched
from .stack import OpenScope, active_scope
from .surroundings import Frame, Surroundings
from .undo import undoing
from .unseen import Differentiates, check_transforms, eagerly

__all__ = ["Runtime"]


class Runtime(threading.local):
    """What the hooks of one instrumented model share, thread by thread.

    Attributes:
        collector: Where this thread's calls enter sources while a ledger is written.
        paused: Whether this thread's calls run without rules.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        settled: Callable[[], None],
        weights_asked: Callable[[], None],
        plain: bool,
    ) -> None:
        """Start with nothing running.

        Args:
            surroundings: See `Surroundings`.
            settled: Called after each outermost call.
            weights_asked: Called when a backward pass comes by for weights, which are
                constants.
            plain: Whether the rules are autograd's own, so that a call that writes no
                ledger needs no scope.
        """
        self.surroundings = surroundings
        self.settled = settled
        self.weights_asked = weights_asked
        self.plain = plain
        self.collector: SourceCollector | None = None
        self.paused = False

    @property
    def scope(self) -> OpenScope | None:
        """The scope that is open in this thread for this model."""
        scope = active_scope()
        if scope is None or scope.surroundings is not self.surroundings:
            return None
        return scope

    @property
    def told(self) -> bool:
        """Whether something without a rule was reported."""
        return self.surroundings.state.told

    def around(
        self, frame: Frame, call: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        """Run an outermost call in a scope, with everything that hangs on the module.

        Args:
            frame: The frame of its module.
            call: The module's own call.
            args: Its arguments.
            kwargs: Its keyword arguments.

        Returns:
            What it returns.

        Raises:
            Differentiates: If the model asks for gradients in its forward, and the
                call must begin again outside.
        """
        recorded = torch.is_grad_enabled()
        if not recorded:
            _check_inference(frame)
        if self.plain and self._is_alone():
            return call(*args, **kwargs)
        if not recorded:
            return self._unrecorded(frame, call, args, kwargs)
        if not self.surroundings.state.differentiates:
            try:
                return self._opened(frame, call, args, kwargs)
            except Differentiates:
                if self.surroundings.state.lends is not None:
                    raise  # `lending` begins again
        return self.without_rules(frame, call, args, kwargs)

    def _is_alone(self) -> bool:
        """Tell whether no ledger is written, and no rules of another model hold."""
        lends = self.surroundings.state.lends
        return self.collector is None and lends is None and active_scope() is None

    def _opened(
        self, frame: Frame, call: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        with self.eager(), undoing() as undo:
            undo.add(self.unwinding())
            self.enter(frame._replace(functions={}, leaf=False), (args, kwargs))
            scope, output = self.scope, None
            lent = None if self.collector or scope is None else scope.collector
            first = next_node() if lent else 0
            alone = scope is not None and lent is None
            given = alone and first_tensor((args, kwargs), carries) is not None
            if given:
                args, kwargs = self.guarded(frame.module, (args, kwargs), given)
            try:
                output = call(*args, **kwargs)
            finally:
                if lent is not None:
                    lent.spans.append((first, next_node()))
                if scope is not None:
                    scope.mark_checkpoints(output)
            self.leave(frame.module)
            if not alone or given:
                return output
            return self.guarded(frame.module, output)

    def without_rules(
        self, frame: Frame, call: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        """Run a call of a model that differentiates inside, and tell of it."""
        self.tell_differentiates()
        with self.pausing():
            return call(*args, **kwargs)

    def tell_differentiates(self, watched: bool = False) -> None:
        """Note that the model asks for gradients inside its forward, and tell of it.

        Args:
            watched: Whether something is watched that only rules show.

        Raises:
            UnsupportedModelError: If it cannot be shown, therefore.
        """
        state = self.surroundings.state
        if watched and state.differentiates:
            raise UnsupportedModelError(
                "the model asks for a gradient inside its forward, so no rule holds "
                "there and what rules show (layers='heads') cannot be read."
            )
        state.differentiates = True
        self.surroundings.report("a gradient taken inside the forward", "")
        self.settled()

    def _unrecorded(
        self, frame: Frame, call: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        """Run a call under ``no_grad``: what it records inside is its own affair."""
        with self.pausing():
            output = call(*args, **kwargs)
        made = [t for t in all_tensors(output) if t.grad_fn is not None]
        if any(not _is_given(tensor, (args, kwargs)) for tensor in made):
            self.surroundings.report("enable_grad() under no_grad()", frame.name)
            self.settled()
        return output

    @contextmanager
    def pausing(self) -> Generator[None]:
        """Run this thread's calls without rules."""
        with undoing() as undo:
            undo.add(partial(setattr, self, "paused", self.paused))
            self.paused = True
            yield

    @contextmanager
    def resting(self) -> Generator[None]:
        """Let a rule's own functions go by; the scope stays open for its sources."""
        scope = self.scope
        if scope is None:
            yield
            return
        before = scope.in_leaf
        try:
            scope.in_leaf = True
            yield
        finally:
            scope.in_leaf = before  # where this is interrupted, the scope is done with

    @contextmanager
    def lending(
        self, collector: SourceCollector, leaves: dict[str, Tensor]
    ) -> Generator[None]:
        """Collect sources in this thread, and in those that it hands its tensors to.

        Args:
            collector: Where they are entered.
            leaves: Where relevance is read, as far as known.
        """
        with undoing() as undo:
            undo.add(self._lend_no_more)
            self.collector = collector
            self.surroundings.state.lends = (collector, leaves)
            yield

    def _lend_no_more(self) -> None:
        self.collector = self.surroundings.state.lends = None

    def _lent(self, given: Any) -> SourceCollector | None:
        """Find the collector of the thread that made what a module is given."""
        lent = self.surroundings.state.lends
        if lent is None:
            return None
        collector, leaves = lent
        live = [tensor for tensor in all_tensors(given) if carries(tensor)]
        found = any(depends(tensor, leaves.values()) for tensor in live)
        return collector if found else None

    @staticmethod
    def eager() -> Any:
        """Keep torch.compile from hiding functions, where it is in use at all."""
        return eagerly() if "torch._dynamo" in sys.modules else nullcontext()

    def close(self) -> None:
        """Note that the rules are taken off."""
        self.surroundings.state.removed = True
        self.surroundings.state.owner = None

    def enter(self, frame: Frame, given: Any) -> None:
        """Push the frame of a module; open a scope if it is the outermost one.

        Args:
            frame: The module that is about to run.
            given: Its arguments.
        """
        # A hook inside may make a tensor carry relevance where nothing did before.
        idle = frame.fused and self._is_idle(frame, given)
        scope = self.scope
        if scope is None:
            collector = self.collector or self._lent(given)
            plain = self.plain and collector is None and active_scope() is None
            unseen = self.paused or plain
            if unseen or not torch.is_grad_enabled() or idle:
                _check_inference(frame)
                return
            check_transforms()
            scope = Scope(self.surroundings, collector)
        scope.enter(frame, idle=idle)

    def _is_idle(self, frame: Frame, given: Any) -> bool:
        """Tell whether nothing in a module's call can carry relevance."""
        if self.collector is not None or first_tensor(given, carries) is not None:
            return False
        return not any(p.requires_grad for p in frame.module.parameters())

    def leave(self, module: nn.Module) -> bool:
        """Pop the frame of a module.

        Args:
            module: The module that has run.

        Returns:
            Whether rules hold where it was called.
        """
        scope = self.scope
        if scope is None:
            return False
        if scope.frames[-1].module is not module:
            if all(frame.module is not module for frame in scope.frames):
                return False
            # After an interrupt, modules inside have left their frames behind.
            while scope.frames[-1].module is not module:
                scope.leave()
        scope.leave()
        if not scope.frames:
            self.settled()
        return not scope.in_leaf

    def guarded(self, module: nn.Module, value: Any, given: bool = False) -> Any:
        """Let a backward pass that comes by for weights be told.

        Args:
            module: The outermost module.
            value: What it is given, where that carries relevance, since outputs may be
                each other's and are not to be copied; otherwise what it returned.
            given: Whether it is given that: then constants stay constants.

        Returns:
            The same, with copies of float tensors.
        """

        def watch(tensor: Tensor) -> Tensor:
            if given and not carries(tensor):
                return tensor
            return watched(tensor, weights, self.weights_asked)

        # A block that a checkpoint recomputes must save what it saved before.
        recomputed = torch._C._current_graph_task_id() != -1
        if recomputed or self.collector is not None or not torch.is_grad_enabled():
            return value
        weights = [p for p in module.parameters() if p.requires_grad]
        if not weights:
            return value
        return replace_floats(value, watch)

    def report_graph(
        self, output: Tensor, collector: SourceCollector | None = None
    ) -> Mapping[Any, int]:
        """Report what bends relevance in the graph behind an output.

        Args:
            output: What is explained.
            collector: That of the forward pass; None where other threads wrote in none.

        Returns:
            The nodes of the graph; see `nodes`.
        """
        graph = nodes(output)
        for name in foreign_functions(graph):
            self.surroundings.report(name, "")
        if collector is not None:
            for func, module, made in collector.unruled:
                if any(node in graph for node in made):
                    self.surroundings.report(func, module)
            if crosses_threads(graph, collector.spans):
                self.surroundings.report("a function in another thread", "")
        self.settled()
        return graph

    def unwinding(self) -> Callable[[], None]:
        """Return what leaves the modules that are entered from now on.

        Where there are any, an exception has come, perhaps in the grad mode of a rule.
        """
        before, grad = self.scope, torch.is_grad_enabled()
        depth = 0 if before is None else len(before.frames)

        def unwind() -> None:
            while (scope := self.scope) is not None:
                if scope is before and len(scope.frames) <= depth:
                    break
                torch.set_grad_enabled(grad)
                scope.leave()

        return unwind

    def resetting(self) -> Callable[[], None]:
        """Return what puts this thread's state back, with no scope open."""
        before = self.collector, self.paused

        def reset() -> None:
            self.abandon()
            self.collector, self.paused = before

        return reset

    def abandon(self) -> None:
        """Close this model's scope after an exception that no hook has seen."""
        while (scope := self.scope) is not None:
            scope.leave()


def _is_given(tensor: Tensor, given: Any) -> bool:
    return any(tensor is other for other in all_tensors(given))


def _check_inference(frame: Frame) -> None:
    if torch.is_inference_mode_enabled():
        raise InferenceModeError(
            f"{type(frame.module).__name__} is instrumented and was called under "
            "torch.inference_mode(), which records no graph. Use torch.no_grad() for "
            "plain outputs, or remove() the instrumentation first."
        )
