"""Blocks that are run again in the backward pass, so that little is kept of them.

Non-reentrant checkpointing, put around the forward of each block for a while: what a
block was given is kept, and what it makes of it is made again when it is needed.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from ..engine.subject import Subject
from ..engine.undo import undoing
from ..errors import UnsupportedModelError
from .blocks import block_lists

__all__ = ["checkpointed"]


@contextmanager
def checkpointed(model: nn.Module) -> Generator[None]:
    """Keep no more of a model's blocks than what they are given.

    Args:
        model: A model, before it is instrumented.

    Yields:
        Nothing.

    Raises:
        UnsupportedModelError: If it has no list of blocks.
    """
    blocks = [block for each in block_lists(Subject(model)) for block in each.values()]
    if not blocks:
        raise UnsupportedModelError(
            f"low_memory=True runs a model's blocks again in the backward pass, but "
            f"{type(model).__name__} has no list of modules (nn.ModuleList). Leave it "
            "out."
        )
    with undoing() as undo:
        for block in blocks:
            undo.add(partial(_restore, block, block.__dict__.get("forward")))
            block.forward = partial(_again, block.forward)
        yield


def _again(forward: Any, *args: Any, **kwargs: Any) -> Any:
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


def _restore(block: nn.Module, forward: Any) -> None:
    if forward is None:
        block.__dict__.pop("forward", None)
    else:
        block.forward = forward
