"""The measured calls on Mamba: relevance, and the maps of all layers."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

from torch import nn

from lrp_hooks import AttentionMaps

from ..cost.methods import FORWARD, Batch, Call, Method, attribute, forward

__all__ = ["MAPS", "RELEVANCE", "methods"]

RELEVANCE = "relevance"
MAPS = "maps"


def methods(rules: list[str]) -> dict[str, Method]:
    """Name every method of a run.

    Args:
        rules: Unused.

    Returns:
        Methods by name.
    """
    return {
        FORWARD: forward,
        RELEVANCE: partial(attribute, rules="conservative"),
        MAPS: unrolled,
    }


@contextmanager
def unrolled(model: nn.Module, batch: Batch) -> Generator[Call]:
    """One map a layer, the mean over its channels."""
    ids = {"input_ids": batch["input_ids"], "use_cache": False}
    yield lambda: AttentionMaps.of(model, ids, heads="mean")
