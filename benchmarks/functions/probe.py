"""One call of a torch function: does its ledger close, or is the function told?

Relevance is Gradient x Input of what a scope made of the function, so for a function
without a rule this is Euler's test that f(a x) = a f(x) in the arguments that are live.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

import lrp_hooks
from lrp_hooks.engine.sources import SourceCollector

__all__ = ["LIMIT", "leak", "samples", "subsets", "tensors"]

LIMIT = 1e-7
"""The largest share of relevance that may be missing, in float64."""
LARGEST = 3000
Sample = tuple[tuple[Any, ...], dict[str, Any]]


class Calls(nn.Module):
    """Runs what it is given."""

    def forward(self, run: Callable[[], Any]) -> Any:
        """Run it.

        Args:
            run: Any function.

        Returns:
            What it returns.
        """
        return run()


def tensors(value: Any) -> list[Tensor]:
    """List the tensors of numbers in nested arguments.

    Args:
        value: Anything.

    Returns:
        The real and complex tensors.
    """
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() or value.is_complex() else []
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if not isinstance(value, list | tuple):
        return []
    return [tensor for item in value for tensor in tensors(item)]


def replaced(value: Any, by: Mapping[int, Tensor]) -> Any:
    """Replace tensors in nested arguments by identity.

    Args:
        value: The arguments.
        by: ``{id: tensor}``.

    Returns:
        The same arguments with other tensors.
    """
    if isinstance(value, Tensor):
        return by.get(id(value), value)
    if isinstance(value, dict):
        return {key: replaced(item, by) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [replaced(item, by) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def samples(op: Any, dtype: torch.dtype, count: int) -> list[Sample]:
    """Draw arguments of a function from torch's own samples.

    Args:
        op: Its entry in torch's list.
        dtype: Of the arguments.
        count: How many, the first ones that can be used.

    Returns:
        Positional and keyword arguments of each.
    """
    drawn = op.sample_inputs("cpu", dtype, requires_grad=False)
    calls = (((sample.input, *sample.args), sample.kwargs) for sample in drawn)
    first = itertools.islice(filter(_usable, calls), count)
    # Each draw seeds torch, which writes the stack down: that of a thread is short.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(list, first).result()


def _usable(call: Sample) -> bool:
    live = tensors(call)
    return bool(live) and all(tensor.numel() <= LARGEST for tensor in live)


def subsets(live: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """List which arguments may carry relevance together.

    Args:
        live: Those that can.

    Returns:
        All subsets; of more than three arguments each alone, and all.
    """
    count = len(live)
    sizes = range(1, count + 1) if count <= 3 else (1, count)
    return [s for n in sizes for s in itertools.combinations(live, n)]


def leak(
    function: Callable[..., Any],
    call: Sample,
    live: Sequence[Tensor],
    rules: str = "conservative",
) -> float | str | None:
    """Find what the ledger of one call misses.

    Args:
        function: The torch function.
        call: Its arguments.
        live: Those that carry relevance.
        rules: The rule set.

    Returns:
        The share of relevance that is missing, or what a warning says of the function;
        None where torch cannot differentiate it, or a value is not finite.
    """
    leaves = {id(t): t.detach().clone().requires_grad_() for t in live}
    given = {id(t): t.detach() for t in tensors(call)}

    def run() -> list[Tensor]:
        # Copies, for functions that overwrite what they are given.
        by = {key: value.clone() for key, value in given.items()}
        by |= {key: leaf * 1 for key, leaf in leaves.items()}
        args, kwargs = replaced(call, by)
        torch.default_generator.manual_seed(0)
        found = function(*args, **kwargs)
        return tensors(found if isinstance(found, list | tuple) else (found,))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not _differentiable(run, leaves):
            return None
        return _missing(run, leaves, rules)


def _missing(
    run: Callable[[], list[Tensor]], leaves: Mapping[int, Tensor], rules: str
) -> float | str | None:
    collector = SourceCollector(1, None)
    model = Calls()
    with lrp_hooks.instrument(model, rules) as lrp:
        lrp.runtime.collector = collector
        outputs = [y for y in model(run) if y.requires_grad]
        lrp.runtime.collector = None
        if not outputs or not all(bool(y.isfinite().all()) for y in outputs):
            return None
        for y in outputs:
            lrp.runtime.report_graph(y, collector)
        if lrp.coverage.unruled:
            return ", ".join(sorted({name for name, _ in lrp.coverage.unruled}))
        seeds = list(_seeds(outputs))
        reads = list(leaves.values())
        grads = torch.autograd.grad(outputs, reads, seeds, allow_unused=True)
    collector.row = 0
    collector.settle()
    pairs = [
        (x.detach(), g) for x, g in zip(reads, grads, strict=True) if g is not None
    ]
    terms = [*zip((y.detach() for y in outputs), seeds, strict=True), *pairs]
    right = sum(_inner(y, s) for y, s in terms[: len(outputs)])
    kept = sum(float(value.sum()) for value in collector.sources.values())
    found = sum(_inner(x, g) for x, g in pairs) + kept
    scale = sum(float((a * b).abs().sum()) for a, b in terms)
    return abs(found - right) / (scale or 1.0)


def _inner(a: Tensor, b: Tensor) -> float:
    return float((a * b.conj()).real.sum())


def _seeds(outputs: Sequence[Tensor]) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(5)
    for y in outputs:
        yield torch.randn(y.shape, dtype=y.dtype, generator=generator)


def _differentiable(
    run: Callable[[], list[Tensor]], leaves: Mapping[int, Tensor]
) -> bool:
    """Tell whether torch itself can run the function backward."""
    try:
        outputs = [y for y in run() if y.requires_grad]
        if outputs:
            seeds = [torch.ones_like(y) for y in outputs]
            reads = list(leaves.values())
            torch.autograd.grad(outputs, reads, seeds, allow_unused=True)
    except (RuntimeError, NotImplementedError, AssertionError):
        return False
    return bool(outputs)
