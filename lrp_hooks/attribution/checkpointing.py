"""Blocks that are run again in the backward pass, so that little is kept of them.

Non-reentrant checkpointing, put around the forward of each block for a while: what a
block was given is kept, and what it makes of it is made again when it is needed.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..engine.hooks import around_forward
from ..engine.subject import Subject
from ..engine.undo import undoing
from ..errors import ArgumentError, UnsupportedModelError
from .blocks import block_lists
from .copies import held_tensors, snapshot

__all__ = ["checkpointed"]


@contextmanager
def checkpointed(model: nn.Module, layers: Sequence[str] = ()) -> Generator[None]:
    """Keep no more of a model's blocks than what they are given.

    Args:
        model: A model, instrumented or not.
        layers: Modules whose relevance is asked for, too.

    Yields:
        Nothing.

    Raises:
        ArgumentError: If there are such modules: what they returned is not kept.
        UnsupportedModelError: If it has no list of blocks.
    """
    if layers:
        raise ArgumentError(
            f"low_memory=True keeps nothing of what layers={[*layers]!r} returned; "
            "leave one of both out."
        )
    blocks = [block for each in block_lists(Subject(model)) for block in each.values()]
    if not blocks:
        raise UnsupportedModelError(
            f"low_memory=True runs a model's blocks again in the backward pass, but "
            f"{type(model).__name__} has no list of modules (nn.ModuleList). Leave it "
            "out."
        )
    with undoing() as undo:
        for block in blocks:
            around_forward(block, lambda forward: partial(_again, forward), undo)
        yield


def _again(forward: Any, *args: Any, **kwargs: Any) -> Any:
    """Run a block now and, when the backward pass comes by, again on the same."""
    before = snapshot((args, kwargs))  # a cache grows as the block runs
    given = [(args, kwargs)]  # not kept: what grew holds the graph that keeps it

    def run(*_: Tensor) -> Any:
        if not given:
            args, kwargs = snapshot(before)
            return forward(*args, **kwargs)
        args, kwargs = given.pop()
        versions = {id(t): t._version for t in held_tensors(before)}
        result = forward(*args, **kwargs)
        if any(t._version != versions[id(t)] for t in held_tensors(before)):
            raise UnsupportedModelError(
                "low_memory=True runs a block again on what it was given, but the "
                "block wrote into a tensor of its cache, or of another argument. "
                "Leave low_memory= out, or pass use_cache=False."
            )
        return result

    tensors = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)]
    return checkpoint(run, *tensors, use_reentrant=False)
