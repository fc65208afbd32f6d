"""What ``layers=`` asks for beside the outputs of modules: heads and blocks."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from torch import Tensor

from ..engine.runtime import Runtime
from ..engine.sources import SourceCollector
from ..engine.subject import Subject
from .blocks import asks_for_blocks, watched_blocks
from .heads import heads_inside, watched_heads

__all__ = ["Asked", "split_layers", "watched_latent"]


class Asked(NamedTuple):
    """What is asked for beside the outputs of modules.

    Attributes:
        heads: Modules whose heads are asked for, "" for all.
        blocks: Whether the residual stream after each block is.
    """

    heads: tuple[str, ...] = ()
    blocks: bool = False


def split_layers(
    subject: Subject, layers: Sequence[str]
) -> tuple[tuple[str, ...], Asked]:
    """Tell names of modules from what else is asked for.

    Args:
        subject: The model.
        layers: See `Instrumentation.attribute`.

    Returns:
        Names of modules, and what else is asked for.
    """
    inside = {name: heads_inside(subject, name) for name in layers}
    blocks = [name for name in layers if asks_for_blocks(subject, name)]
    modules = (n for n in layers if inside[n] is None and n not in blocks)
    heads = (module for module in inside.values() if module is not None)
    return tuple(modules), Asked(tuple(heads), bool(blocks))


@contextmanager
def watched_latent(
    subject: Subject, runtime: Runtime, collector: SourceCollector, asked: Asked
) -> Generator[dict[str, Tensor]]:
    """Watch what is asked for beside the outputs of modules.

    Args:
        subject: The instrumented model.
        runtime: What its hooks share.
        collector: Where the pass enters its sources.
        asked: What is asked for; nothing is done for nothing.

    Yields:
        ``{name: tensor}``, complete at the end: ``"<attention module>.heads"``,
        [B, H, T, D], and blocks, [B, T, D].
    """
    found: dict[str, Tensor] = {}
    with ExitStack() as stack:
        watched: list[dict[str, Tensor]] = []
        if asked.blocks:
            watched.append(stack.enter_context(watched_blocks(subject, collector)))
        if asked.heads:
            heads = watched_heads(subject, runtime, collector, asked.heads)
            watched.append(stack.enter_context(heads))
        yield found
    for each in watched:
        found.update(each)
