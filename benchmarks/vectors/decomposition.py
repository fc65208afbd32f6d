"""The measured calls on a decoder: relevance, and vectors of the last hidden state."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

from torch import nn

from lrp_hooks.explainers import DecompX

from ..cost.methods import FORWARD, Batch, Call, Method, forward

__all__ = ["ONE_CLASS", "VECTORS", "methods"]

ONE_CLASS = "scores"
VECTORS = "vectors"


def methods(rules: list[str]) -> dict[str, Method]:
    """Name every method of a run.

    Args:
        rules: Unused.

    Returns:
        Methods by name.
    """
    return {
        FORWARD: forward,
        ONE_CLASS: partial(decompose, stages=()),
        VECTORS: partial(decompose, stages=("aggregated",)),
    }


@contextmanager
def decompose(
    model: nn.Module, batch: Batch, stages: tuple[str, ...]
) -> Generator[Call]:
    """DecompX on the model as a user has it; the explainer has been called before."""
    explainer = DecompX(model, stages=stages)
    explainer({name: value[:, :2] for name, value in batch.items()})
    yield lambda: explainer(batch)
