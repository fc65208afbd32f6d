"""The backward pass of an explanation: one for a batch, or one an example."""

from __future__ import annotations

import torch
from torch import Tensor

from ..engine.autograd import carries
from ..engine.sources import SourceCollector

__all__ = ["by_example", "gradients", "mixes", "relevance_of", "sum_rows"]


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
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Run one backward pass an example: then every term is that example's own.

    Of what is read for each example, the others' part in its output is left out.

    Args:
        scalar: What is explained, [B].
        wanted: ``{name: tensor}`` whose gradients are asked for.
        reads: Those of them that relevance is read at.
        collector: Where sources are entered.

    Returns:
        ``{name: gradient}`` of all examples together, the sum of scores of each
        example, [B], and how much of its output comes from others' inputs, [B].
    """
    batch = collector.batch
    total: dict[str, Tensor] = {}
    sources: dict[str, list[Tensor]] = {}
    positions: dict[str, Tensor] = {}
    inputs = torch.zeros(batch, dtype=torch.float64, device=scalar.device)
    strays = torch.zeros_like(inputs)
    for row in range(batch):
        collector.clear()
        collector.row = row
        seed = torch.zeros_like(scalar)
        seed[row] = 1.0
        grads = gradients(scalar, wanted, seed)
        for name, read in reads.items():
            if len(read) == batch:
                found = _sums(read, grads.get(name)).abs()
                strays[row] += found.sum() - found[row]
                if name in grads:
                    grads[name] = _row(grads[name], row)
            inputs[row] += relevance_of(read, grads.get(name)).double().sum()
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
    return total, inputs, strays


def sum_rows(reads: dict[str, Tensor], grads: dict[str, Tensor]) -> Tensor:
    """Sum the relevance of each example.

    Args:
        reads: ``{name: tensor}`` that starts with the batch dimension.
        grads: Their gradients, where one came.

    Returns:
        The sum of scores, [B] in float64.
    """
    return torch.stack([_sums(t, grads.get(name)) for name, t in reads.items()]).sum(0)


def mixes(scalar: Tensor, reads: dict[str, Tensor], grads: dict[str, Tensor]) -> bool:
    """Tell whether an example's output depends on another one's input.

    Then a backward pass that weighs the examples does not weigh gradients alike.

    Args:
        scalar: What is explained, [B].
        reads: ``{name: tensor}`` that starts with the batch dimension.
        grads: Their gradients for ones, where one came.

    Returns:
        True if it does.
    """
    weights = torch.linspace(0.5, 1.5, len(scalar), device=scalar.device)
    weighed = gradients(scalar, reads, weights.to(scalar))
    for name, grad in weighed.items():
        own = grads[name] * weights.view(-1, *[1] * (grad.ndim - 1)).to(grad)
        size = relevance_of(reads[name], own.abs() + grad.abs()).abs().sum()
        gap = relevance_of(reads[name], grad - own).abs().sum()
        if bool(gap > max(1e-4, 10 * torch.finfo(grad.dtype).eps) * size):
            return True
    return False


def _row(grad: Tensor, row: int) -> Tensor:
    """Return the gradient of one example's own part, and zeros."""
    own = torch.zeros_like(grad)
    own[row] = grad[row]
    return own


def _sums(read: Tensor, grad: Tensor | None) -> Tensor:
    return relevance_of(read, grad).double().reshape(len(read), -1).sum(1)


def relevance_of(read: Tensor, grad: Tensor | None) -> Tensor:
    """Return the relevance of what was read.

    Args:
        read: A tensor of any shape.
        grad: Its gradient, or None where none came.

    Returns:
        Gradient times value, in the shape of ``read``.
    """
    if grad is None:
        return torch.zeros_like(read)
    return torch.where(grad == 0, 0.0, read.detach() * grad)  # 0 times infinity is 0
