"""The measured calls: attention maps and what is made of them, and LIME's limit."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from lrp_hooks import AttentionMaps
from lrp_hooks.explainers import AttentionRollout, GenericAttention, closed_form

from ..cost.methods import FORWARD, Batch, Call, Method, forward
from ..cost.timing import cpu_seconds

__all__ = ["GAE", "MAPS", "ROLLOUT", "lime_seconds", "methods"]

MAPS, ROLLOUT, GAE = "attention maps", "rollout", "GAE"


def methods(rules: list[str]) -> dict[str, Method]:
    """Name every method of a run.

    Args:
        rules: Not used.

    Returns:
        Methods by name.
    """
    return {
        FORWARD: forward,
        MAPS: partial(explain, make=lambda model: partial(AttentionMaps.of, model)),
        ROLLOUT: partial(explain, make=AttentionRollout),
        GAE: partial(explain, make=GenericAttention),
    }


@contextmanager
def explain(
    model: nn.Module, batch: Batch, make: Callable[[nn.Module], Callable[..., Any]]
) -> Generator[Call]:
    """One explanation of the model as a user has it."""
    explainer = make(model)
    yield lambda: explainer(batch)


def lime_seconds(config: dict[str, Any]) -> list[float]:
    """Measure the exact limit of LIME for a text of distinct words.

    Args:
        config: The run's configuration.

    Returns:
        CPU seconds of each round.
    """
    torch.manual_seed(config["seed"])
    words = config["words"]
    model = closed_form.AttentionClassifier(words + 2, n_heads=config["heads"])
    ids = torch.ones(256, dtype=torch.long)
    ids[: words + 1] = torch.tensor([0, *range(2, words + 2)])
    call = partial(closed_form.lime_limit, model, ids)
    return [round(cpu_seconds(call), 4) for _ in range(config["min_rounds"])]
