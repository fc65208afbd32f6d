"""The measured calls: DecompX by one backward pass, by two, and by decomposition."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn

from lrp_hooks.explainers import DecompX

from ..cost.methods import FORWARD, Batch, Call, Method, forward

__all__ = ["ONE_CLASS", "TWO_CLASSES", "forward_path", "methods"]

ONE_CLASS = "one class"
TWO_CLASSES = "two classes"


def forward_path(bias: str) -> str:
    """Name the method that decomposes with a bias rule."""
    return f"decomposition, {bias}"


def methods(rules: list[str]) -> dict[str, Method]:
    """Name every method of a run.

    Args:
        rules: The bias rules to decompose with.

    Returns:
        Methods by name.
    """
    table: dict[str, Method] = {
        FORWARD: forward,
        ONE_CLASS: partial(explain, target=1),
        TWO_CLASSES: partial(explain, target="all"),
    }
    return table | {
        forward_path(rule): partial(explain, target=1, bias=rule) for rule in rules
    }


@contextmanager
def explain(
    model: nn.Module, batch: Batch, target: Any, bias: str = "equal"
) -> Generator[Call]:
    """DecompX on the model as a user has it; the explainer has been called before."""
    explainer = DecompX(model, bias=bias)
    first = {name: value[:, :2] for name, value in batch.items()}
    explainer(first, target)  # finds where to read
    yield lambda: explainer(batch, target)
