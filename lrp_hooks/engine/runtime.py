"""What the hooks of one instrumented model share: the scope that they open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InferenceModeError
from .autograd import carries, watched
from .foreign import reached
from .nested import first_tensor, replace_floats
from .scope import Scope, active_scope
from .sources import SourceCollector
from .surroundings import Frame, Surroundings

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
    def scope(self) -> Scope | None:
        """The scope that is open in this thread for this model."""
        scope = active_scope()
        if scope is None or scope.surroundings is not self.surroundings:
            return None
        return scope

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
            plain = self.plain and self.collector is None and active_scope() is None
            unseen = self.paused or plain
            if unseen or not torch.is_grad_enabled() or idle:
                _check_inference(frame)
                return
            scope = Scope(self.surroundings, self.collector)
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
        if scope is None or all(frame.module is not module for frame in scope.frames):
            return False
        # After an interrupt, modules inside have left their frames behind.
        while scope.leave().module is not module:
            continue
        if not scope.frames:
            self.settled()
        return not scope.in_leaf

    def guarded(self, module: nn.Module, output: Any) -> Any:
        """Let a backward pass that comes by for weights be told.

        Args:
            module: The outermost module, which has run.
            output: What it returned.

        Returns:
            The output, with the same values.
        """
        # A block that a checkpoint recomputes must save what it saved before.
        recomputed = torch._C._current_graph_task_id() != -1
        if recomputed or self.collector is not None or not torch.is_grad_enabled():
            return output
        weights = [p for p in module.parameters() if p.requires_grad]
        if not weights:
            return output
        return replace_floats(output, lambda t: watched(t, weights, self.weights_asked))

    def report_foreign(self, names: Iterable[str]) -> None:
        """Report custom autograd functions, which have backwards of their own.

        Args:
            names: Their qualified names.
        """
        for name in names:
            self.surroundings.report(name, "")
        self.settled()

    def report_reached(self, collector: SourceCollector, explained: Tensor) -> None:
        """Report the functions without rule that an explained output depends on.

        Args:
            collector: What noted them in the forward pass.
            explained: The output.
        """
        calls = collector.unruled
        nodes = [node for *_, made in calls for node in made]
        found = reached(explained, nodes) if nodes else set()
        for func, module, made in calls:
            if not found.isdisjoint(made):
                self.surroundings.report(func, module)
        self.settled()

    def abandon(self) -> None:
        """Close this model's scope after an exception that no hook has seen."""
        while (scope := self.scope) is not None:
            scope.leave()


def _check_inference(frame: Frame) -> None:
    if torch.is_inference_mode_enabled():
        raise InferenceModeError(
            f"{type(frame.module).__name__} is instrumented and was called under "
            "torch.inference_mode(), which records no graph. Use torch.no_grad() for "
            "plain outputs, or remove() the instrumentation first."
        )
