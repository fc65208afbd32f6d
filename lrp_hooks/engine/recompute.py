"""Gradient checkpointing: functions that run again in the backward pass.

They run outside the forward pass then, so nothing would open a scope for what is no
module. Each is given the scope that it ran in, for torch compares what it saves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.checkpoint import CheckpointFunction

from ..errors import UnruledError
from .autograd import carries
from .foreign import nodes
from .nested import all_tensors
from .stack import OpenScope
from .surroundings import Frame

__all__ = ["Recomputed", "mark_reentrant", "next_node", "recomputed_in"]


class Recomputed:
    """A checkpointed function, run in the backward pass as it was in the forward."""

    def __init__(
        self, function: Callable[..., Any], scope: OpenScope, frames: Any
    ) -> None:
        """Keep what a scope needs to open again.

        Args:
            function: What checkpointing runs again.
            scope: The scope that it ran in.
            frames: The modules that were running.
        """
        self.function = function
        self.frames = tuple(frames)
        self.surroundings = scope.surroundings
        self.renewed = scope.renewed

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function in a scope.

        Args:
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Returns:
            What it returns.

        Raises:
            UnruledError: If the rules were removed meanwhile.
        """
        if self.surroundings.state.removed:
            raise UnruledError(
                "a backward pass came after remove() to a part under "
                "torch.utils.checkpoint, whose forward would run again without its "
                "rules; run backward() before remove()."
            )
        scope = self.renewed()
        try:
            for frame in self.frames:
                scope.enter(frame)
            return self.function(*args, **kwargs)
        finally:
            while scope.frames:
                scope.leave()


def recomputed_in(scope: OpenScope, hooks: Any) -> str | None:
    """Let a checkpoint run its function again in the scope that it ran in.

    Args:
        scope: The scope that is open.
        hooks: The innermost hooks on saved tensors.

    Returns:
        None, or what to report where that is not possible.
    """
    pack = hooks[0]
    if not getattr(pack, "__qualname__", "").startswith("_checkpoint_hook."):
        return None
    for cell in pack.__closure__ or ():
        frame = cell.cell_contents
        function = getattr(frame, "recompute_fn", None)
        if function is not None:
            if not isinstance(function, Recomputed):
                frame.recompute_fn = Recomputed(function, scope, scope.frames)
            return None
    return "torch.utils.checkpoint.checkpoint"


def mark_reentrant(
    scope: OpenScope, output: Any, unrecorded: Sequence[tuple[int, list[Frame]]]
) -> None:
    """Let reentrant checkpoints run again in the scope that they ran in.

    Args:
        scope: The scope.
        output: What the outermost call returned.
        unrecorded: What was running where a graph was left out, with the number of the
            next node.
    """
    live = [tensor for tensor in all_tensors(output) if carries(tensor)]
    for node in {node for tensor in live for node in nodes(tensor)}:
        reentrant = getattr(node, "_forward_cls", None) is CheckpointFunction
        if reentrant and not isinstance(node.run_function, Recomputed):
            number = node._sequence_nr()
            frames = next(f for first, f in unrecorded if first > number)
            node.run_function = Recomputed(node.run_function, scope, frames)


def next_node() -> int:
    """Return the number that this thread's next node has in its graph."""
    # A custom function's own node has its number before its forward runs.
    with torch.enable_grad():
        mark = torch.zeros((), requires_grad=True).clone()
    assert mark.grad_fn is not None
    return mark.grad_fn._sequence_nr()
