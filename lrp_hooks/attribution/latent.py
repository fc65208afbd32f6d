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

__all__ = ["Asked", "Latent", "split_layers", "watched_latent"]


class Asked(NamedTuple):
    """What is asked for beside the outputs of modules.

    Attributes:
        heads: Modules whose heads are asked for, "" for all.
        blocks: Whether the residual stream after each block is.
        whole: See `watched_blocks`.
    """

    heads: tuple[str, ...] = ()
    blocks: bool = False
    whole: bool = False


class Latent(NamedTuple):
    """What was seen of that, complete once the forward pass has ended.

    Attributes:
        heads: ``{"<attention module>.heads": [B, H, T, D]}``.
        blocks: ``{block: [B, T, D]}`` in the order in which they ran.
    """

    heads: dict[str, Tensor]
    blocks: dict[str, Tensor]


def split_layers(
    subject: Subject, layers: Sequence[str], whole: bool = False
) -> tuple[tuple[str, ...], Asked]:
    """Tell names of modules from what else is asked for.

    Args:
        subject: The model.
        layers: See `Instrumentation.attribute`.
        whole: See `watched_blocks`.

    Returns:
        Names of modules, and what else is asked for.
    """
    inside = {name: heads_inside(subject, name) for name in layers}
    blocks = [name for name in layers if asks_for_blocks(subject, name)]
    modules = (n for n in layers if inside[n] is None and n not in blocks)
    heads = (module for module in inside.values() if module is not None)
    return tuple(modules), Asked(tuple(heads), bool(blocks), whole)


@contextmanager
def watched_latent(
    subject: Subject, runtime: Runtime, collector: SourceCollector, asked: Asked
) -> Generator[Latent]:
    """Watch what is asked for beside the outputs of modules.

    Args:
        subject: The instrumented model.
        runtime: What its hooks share.
        collector: Where the pass enters its sources.
        asked: What is asked for; nothing is done for nothing.

    Yields:
        What is seen.
    """
    heads: dict[str, Tensor] = {}
    blocks: dict[str, Tensor] = {}
    with ExitStack() as stack:
        if asked.blocks:
            watched = watched_blocks(subject, collector, asked.whole)
            blocks = stack.enter_context(watched)
        if asked.heads:
            mixed = watched_heads(subject, runtime, collector, asked.heads)
            heads = stack.enter_context(mixed)
        yield Latent(heads, blocks)
