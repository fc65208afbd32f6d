"""Checks one model of another library, as those of transformers are checked."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..architectures import randomise
from ..calls import forward, logits_of, projection
from ..probe import Asked, Prepared, Record, checked
from .models import Listed, build


def probe(model: Listed) -> Record:
    """Build a model and check it.

    Args:
        model: What to check.

    Returns:
        See `benchmarks.coverage.probe.checked`.
    """
    return checked(lambda: prepare(model), asked(model))


def prepare(listed: Listed) -> Prepared:
    """Build a model that runs: in float64, or float32 where it insists.

    Args:
        listed: What to build.

    Returns:
        The model, its inputs, and that it keeps what it keeps by default.
    """
    torch.manual_seed(0)
    model, inputs = build(listed)
    randomise(model.eval()).double()
    if not _runs(model, inputs):
        model, inputs = model.float(), _as(torch.float32, inputs)
        if not bool(torch.isfinite(forward(model, inputs)).all()):
            raise ValueError("the output of the plain model is not finite")
    return model, inputs, True


def asked(listed: Listed) -> Asked:
    """Say how a model is explained where its defaults do not say it.

    Args:
        listed: The model.

    Returns:
        Keyword arguments of `attribute`.
    """
    batch_dim = listed.spec.get("batch_dim", 0)
    if listed.graph:
        return {"target": of_graph}
    if batch_dim:
        return {"target": partial(along, batch_dim), "batch_dim": batch_dim}
    return {}


def of_graph(output: Any) -> Tensor:
    """Project what a model says of the nodes of one graph."""
    return projection(logits_of(output)[None])


def along(batch_dim: int, output: Any) -> Tensor:
    """Project an output whose examples lie along another axis."""
    return projection(logits_of(output).movedim(batch_dim, 0))


def _runs(model: nn.Module, inputs: Any) -> bool:
    try:
        return bool(torch.isfinite(forward(model, inputs)).all())
    except (RuntimeError, NotImplementedError):
        return False


def _as(dtype: torch.dtype, value: Any) -> Any:
    """Give floats another precision."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {key: _as(dtype, part) for key, part in value.items()}
    return tuple(_as(dtype, v) for v in value) if isinstance(value, tuple) else value
