"""The backward pass of an explanation: one for a batch, or one an example."""

from __future__ import annotations

import torch
from torch import Tensor

from ..engine.autograd import carries
from ..engine.sources import SourceCollector

__all__ = ["by_example", "gradients", "relevance_of", "sum_rows"]


def gradients(
    scalar: Tensor, wanted: dict[str, Tensor], seed: Tensor | None
) -> dict[str, Tensor]:
    """Run the backward pass.

    Args:
        scalar: What is explained, [B].
        wanted: ``{name: tensor}`` whose gradients are asked for.
        seed: The gradient of ``scalar``, [B], for one pass of several; None for ones.

    Returns:
        ``{name: gradient}``, without what the pass does not reach.
    """
    live = {name: t for name, t in wanted.items() if t.requires_grad}
    if not (carries(scalar) and live):
        return {}
    found = torch.autograd.grad(
        scalar,
        list(live.values()),
        torch.ones_like(scalar) if seed is None else seed,
        retain_graph=seed is not None,
        allow_unused=True,
    )
    return {n: g.detach() for n, g in zip(live, found, strict=True) if g is not None}


def by_example(
    scalar: Tensor,
    wanted: dict[str, Tensor],
    reads: dict[str, Tensor],
    collector: SourceCollector,
) -> tuple[dict[str, Tensor], Tensor]:
    """Run one backward pass an example: then every term is that example's own.

    Args:
        scalar: What is explained, [B].
        wanted: ``{name: tensor}`` whose gradients are asked for.
        reads: Those of them that relevance is read at.
        collector: Where sources are entered.

    Returns:
        ``{name: gradient}`` of all examples together, and the sum of scores of each
        example, [B].
    """
    batch = collector.batch
    total: dict[str, Tensor] = {}
    sources: dict[str, list[Tensor]] = {}
    positions: dict[str, Tensor] = {}
    inputs = torch.zeros(batch, dtype=torch.float64, device=scalar.device)
    for row in range(batch):
        collector.clear()
        collector.row = row
        seed = torch.zeros_like(scalar)
        seed[row] = 1.0
        grads = gradients(scalar, wanted, seed)
        inputs[row] = sum(
            relevance_of(t, grads.get(n)).double().sum() for n, t in reads.items()
        )
        for name, grad in grads.items():
            total[name] = total[name] + grad if name in total else grad
        collector.settle()
        for name, values in collector.sources.items():
            rows = sources.setdefault(name, [values.new_zeros(())] * batch)
            rows[row] = values.sum()
        for name, values in collector.positions.items():
            kept = positions.setdefault(name, torch.zeros_like(values))
            kept[row] = values.sum(0)
    collector.clear()
    collector.sources = {name: torch.stack(rows) for name, rows in sources.items()}
    collector.positions = positions
    return total, inputs


def sum_rows(reads: dict[str, Tensor], grads: dict[str, Tensor]) -> Tensor:
    """Sum the relevance of each example.

    Args:
        reads: ``{name: tensor}`` that starts with the batch dimension.
        grads: Their gradients, where one came.

    Returns:
        The sum of scores, [B] in float64.
    """
    rows = [
        relevance_of(read, grads.get(name)).double().reshape(len(read), -1).sum(1)
        for name, read in reads.items()
    ]
    return torch.stack(rows).sum(0)


def relevance_of(read: Tensor, grad: Tensor | None) -> Tensor:
    """Return the relevance of what was read.

    Args:
        read: A tensor of any shape.
        grad: Its gradient, or None where none came.

    Returns:
        Gradient times value, in the shape of ``read``.
    """
    return torch.zeros_like(read) if grad is None else read.detach() * grad
