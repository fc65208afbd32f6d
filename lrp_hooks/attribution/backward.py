"""The backward pass of an explanation: one for a batch, or one an example."""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..engine.autograd import carries
from ..engine.gathering import gathering
from ..engine.sources import SourceCollector
from ..errors import UnsupportedModelError

__all__ = [
    "Apart",
    "by_example",
    "gradients",
    "mixes",
    "relevance_of",
    "sum_rows",
    "telling_overwritten",
]


@contextmanager
def telling_overwritten() -> Generator[None]:
    """Say what to do where a model overwrites what its own gradient needs.

    Rules of relevance keep what they need; the plain gradient is torch's.

    Yields:
        Nothing.

    Raises:
        UnsupportedModelError: If it does.
        RuntimeError: Any other of torch's.
    """
    try:
        yield
    except RuntimeError as error:
        if "modified by an inplace operation" not in str(error):
            raise
        raise UnsupportedModelError(
            "torch cannot differentiate this model: it overwrites values that its own "
            "gradient needs, as models do that keep a state for the next token. Pass "
            "use_cache=False beside the inputs, or set model.config.use_cache = "
            "False; method='lrp' with its default rules needs neither."
        ) from error


def gradients(
    scalar: Tensor,
    wanted: dict[str, Tensor],
    seed: Tensor | None,
    selects: bool = True,
) -> dict[str, Tensor]:
    """Run the backward pass.

    Args:
        scalar: What is explained, [B].
        wanted: ``{name: tensor}`` whose gradients are asked for.
        seed: The gradient of ``scalar``, [B], for one pass of several; None for ones.
        selects: False if it is known that ``scalar`` is made of few selections.

    Returns:
        ``{name: gradient}``, without what the pass does not reach.
    """
    live = {name: t for name, t in wanted.items() if t.requires_grad}
    if not (carries(scalar) and live):
        return {}
    with telling_overwritten(), gathering([scalar] if selects else []):
        found = torch.autograd.grad(
            scalar,
            list(live.values()),
            torch.ones_like(scalar) if seed is None else seed,
            retain_graph=seed is not None,
            allow_unused=True,
        )
    return {n: g.detach() for n, g in zip(live, found, strict=True) if g is not None}


@dataclass
class Apart:
    """What one backward pass an example brought.

    Attributes:
        grads: ``{name: gradient}`` of all examples together.
        inputs: The sum of scores of each example, [B].
        strays: How much of each output comes from the inputs of others, [B].
        shares: ``{name: relevance for each example, [B, R, ...]}`` of what was read and
            has rows that are no examples.
    """

    grads: dict[str, Tensor]
    inputs: Tensor
    strays: Tensor
    shares: dict[str, Tensor]


def by_example(
    scalar: Tensor,
    wanted: dict[str, Tensor],
    reads: dict[str, Tensor],
    collector: SourceCollector,
    merged: Collection[str] = (),
) -> Apart:
    """Run one backward pass an example: then every term is that example's own.

    Of what is read for each example, the others' part in its output is left out.

    Args:
        scalar: What is explained, [B].
        wanted: ``{name: tensor}`` whose gradients are asked for.
        reads: Those of them that relevance is read at.
        collector: Where sources are entered.
        merged: Names of reads whose rows may be other examples' than they seem.

    Returns:
        What came of all passes.
    """
    loose = {n for n, t in reads.items() if n in merged or len(t) != collector.batch}
    total: dict[str, Tensor] = {}
    noted = _Noted(collector.batch)
    passes: list[dict[str, Tensor]] = []
    for row in range(collector.batch):
        collector.clear()
        collector.row = row
        seed = torch.zeros_like(scalar)
        seed[row] = 1.0
        grads = gradients(scalar, wanted, seed)
        passes.append({n: grads[n] for n in loose & grads.keys()})
        noted.sums.append({n: _sums(t, grads.get(n)) for n, t in reads.items()})
        for name, grad in grads.items():
            own = _row(grad, row) if name in reads.keys() - loose else grad
            total[name] = total[name] + own if name in total else own
        collector.settle()
        noted.enter(row, collector)
    noted.leave(collector)
    nothing = torch.zeros(collector.batch, dtype=torch.float64, device=scalar.device)
    apart = Apart(total, nothing, nothing.clone(), {})
    for name, read in reads.items():
        each = [found.get(name) for found in passes] if name in loose else []
        _part(apart, name, read, torch.stack([s[name] for s in noted.sums]), each)
    return apart


class _Noted:
    """The sources of all examples, and the sums of rows for each, [R] by name."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.sums: list[dict[str, Tensor]] = []
        self.sources: dict[str, list[Tensor]] = {}
        self.positions: dict[str, Tensor] = {}

    def enter(self, row: int, collector: SourceCollector) -> None:
        """Note what the backward pass of one example brought."""
        for name, values in collector.sources.items():
            nothing = [values.new_zeros(())] * self.batch
            self.sources.setdefault(name, nothing)[row] = values.sum()
        for name, values in collector.positions.items():
            kept = self.positions.setdefault(name, torch.zeros_like(values))
            kept[row] = values.sum(0)

    def leave(self, collector: SourceCollector) -> None:
        """Hand what was noted to the collector."""
        collector.clear()
        collector.sources = {n: torch.stack(rows) for n, rows in self.sources.items()}
        collector.positions = self.positions


def _part(
    apart: Apart, name: str, read: Tensor, sums: Tensor, each: list[Tensor | None]
) -> None:
    """Tell an example's own rows from those of others.

    Args:
        apart: Where they are entered.
        name: What was read.
        read: Its value, [R, ...].
        sums: The relevance of each row for each example, [B, R].
        each: The gradients for each example where rows may be others' than they seem.
    """
    aside = sums.shape[0] != sums.shape[1]
    if each and not aside:  # as many rows as examples, and yet not one of each
        moved = bool((sums - sums.diag().diag()).any())
        aside = moved and not bool(((sums != 0).sum(0) > 1).any())
    if aside:
        apart.shares[name] = torch.stack([relevance_of(read, grad) for grad in each])
        apart.inputs += sums.sum(1)
        return
    if name in apart.grads and each:
        rows = [torch.zeros_like(read) if g is None else g for g in each]
        apart.grads[name] = torch.stack([g[row] for row, g in enumerate(rows)])
    apart.strays += sums.abs().sum(1) - sums.diag().abs()
    apart.inputs += sums.diag()


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
