"""Every function that torch has samples for, with every subset of its arguments live.

The ledger closes, or a warning names the function.

Relevance is Gradient x Input of what a scope made of the function, so for a function
without a rule this is Euler's test that f(a x) = a f(x) in the arguments that are live.
"""

from __future__ import annotations

import itertools
import warnings

import pytest
import torch
from torch import Tensor

from lrp_hooks import instrument
from lrp_hooks.engine.sources import SourceCollector
from oracles import Calls

pytest.importorskip("expecttest", reason="torch's samples need it")
from torch.testing._internal.common_methods_invocations import (  # noqa: E402
    op_db,
)

ROUNDED = {"bfloat16", "half", "chalf"}
"""Casts, which round."""
UNKNOWN = {
    "addr",  # its samples hold NaN times 0
    "nansum",  # NaN
    "nanmean",
    "sparse.sampled_addmm",  # its results are sparse
    "to_sparse",
    "nn.functional.embedding",  # rows of a live table renormalised or rescaled
    "nn.functional.embedding_bag",
}
"""Ops whose samples the test cannot read."""
SAMPLES = 1


def tensors(value) -> list[Tensor]:
    """List the tensors of values in nested arguments."""
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() or value.is_complex() else []
    if isinstance(value, dict):
        value = value.values()
    items = (
        value if isinstance(value, list | tuple) or hasattr(value, "__iter__") else ()
    )
    if isinstance(items, str):
        return []
    return [tensor for item in items for tensor in tensors(item)]


def replaced(value, by):
    """Replace tensors in nested arguments by identity."""
    if isinstance(value, Tensor):
        return by.get(id(value), value)
    if isinstance(value, dict):
        return {key: replaced(item, by) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [replaced(item, by) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def real_inner(a: Tensor, b: Tensor) -> float:
    return float((a * b.conj()).real.sum())


def differentiable(call, function, leaves) -> bool:
    """Tell whether torch itself can run the function backward."""
    try:
        outputs = [y for y in call(function) if y.requires_grad]
        if outputs:
            seeds = [torch.ones_like(y) for y in outputs]
            torch.autograd.grad(
                outputs, list(leaves.values()), seeds, allow_unused=True
            )
    except (RuntimeError, NotImplementedError, AssertionError):
        return False
    return bool(outputs)


def leak(function, args, kwargs, live, rules) -> float | None:
    """Return what the ledger of one call misses; None if a warning names it."""
    leaves = {id(t): t.detach().clone().requires_grad_() for t in live}
    given = {id(t): t.detach().clone() for t in tensors((args, kwargs))}

    def call(f):
        by = {**given, **{key: leaf * 1 for key, leaf in leaves.items()}}
        torch.manual_seed(0)
        return tensors(f(*replaced(args, by), **replaced(kwargs, by)))

    if not differentiable(call, function, leaves):
        return 0.0
    collector = SourceCollector(1, None)
    model = Calls(lambda _, run: run(function))
    with instrument(model, rules) as lrp:
        lrp.runtime.collector = collector
        outputs = [y for y in model(call) if y.requires_grad]
        lrp.runtime.collector = None
        if not outputs or not all(bool(y.isfinite().all()) for y in outputs):
            return 0.0
        for y in outputs:
            lrp.runtime.report_graph(y, collector)
        if lrp.coverage.unruled:
            return None
        generator = torch.Generator().manual_seed(5)
        seeds = [
            torch.randn(y.shape, dtype=y.dtype, generator=generator) for y in outputs
        ]
        grads = torch.autograd.grad(
            outputs, list(leaves.values()), seeds, allow_unused=True
        )
    collector.row = 0
    collector.settle()
    pairs = [
        (x.detach(), g)
        for x, g in zip(leaves.values(), grads, strict=True)
        if g is not None
    ]
    kept = sum(float(v.sum()) for v in collector.sources.values())
    right = sum(real_inner(y.detach(), s) for y, s in zip(outputs, seeds, strict=True))
    found = sum(real_inner(x, g) for x, g in pairs) + kept
    terms = [*zip((y.detach() for y in outputs), seeds, strict=True), *pairs]
    scale = sum(float((a * b).abs().sum()) for a, b in terms)
    return abs(found - right) / (scale or 1.0)


def samples(op, dtype):
    drawn = itertools.islice(op.sample_inputs("cpu", dtype, requires_grad=False), 15)
    usable = [
        (sample, live)
        for sample in drawn
        if (live := tensors((sample.input, *sample.args, sample.kwargs)))
        and all(t.numel() <= 3000 for t in live)
    ]
    return usable[:: max(1, len(usable) // SAMPLES)]


def subsets(live):
    count = len(live)
    sizes = range(1, count + 1) if count <= 3 else (1, count)
    return [s for n in sizes for s in itertools.combinations(live, n)]


def check(op, dtype, rules):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for sample, tensors_ in samples(op, dtype):
            args = (sample.input, *sample.args)
            for live in subsets(tensors_):
                missing = leak(op.op, args, sample.kwargs, live, rules)
                places = [
                    i for i, t in enumerate(tensors_) if any(t is o for o in live)
                ]
                shapes = [tuple(t.shape) for t in tensors_]
                assert missing is None or missing < 1e-7, (
                    f"{op.name}: {missing:.1e} of the relevance is missing where the "
                    f"arguments {places} of {shapes} carry it, {sample.kwargs}"
                )


OPS = {
    f"{op.name}.{op.variant_test_name}".rstrip("."): op
    for op in op_db
    if op.name not in ROUNDED | UNKNOWN and torch.float64 in op.dtypes
}


COMPLEX = {name: op for name, op in OPS.items() if torch.complex128 in op.dtypes}
PARTS = 12
"""Tests that the ops are dealt out to: one an op would take its time to collect."""


def dealt(ops, part):
    return [ops[name] for name in list(ops)[part::PARTS]]


@pytest.mark.parametrize("part", range(PARTS))
def test_the_ledger_closes_or_the_function_is_named(part):
    for op in dealt(OPS, part):
        check(op, torch.float64, "conservative")


@pytest.mark.parametrize("part", range(PARTS))
def test_with_complex_numbers_too(part):
    for op in dealt(COMPLEX, part):
        check(op, torch.complex128, "conservative")
