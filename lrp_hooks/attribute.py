"""One explanation: read-out, forward, one backward, the ledger."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .errors import InferenceModeError
from .finite import check_output, check_relevance
from .foreign import foreign_functions
from .hooks import Runtime
from .inputs import Call, bind
from .reader import Reader
from .readout import Selected, select
from .relevance import Ledger, Relevance
from .ruleset import RuleSet
from .sources import SourceCollector
from .subject import Subject

__all__ = ["Request", "attribute"]

Collect = Callable[[int, int | None], SourceCollector]


@dataclass(frozen=True)
class Request:
    """The arguments of `Instrumentation.attribute`."""

    inputs: Any
    target: Any
    wrt: str | Sequence[str] | None
    layers: tuple[str, ...]


@dataclass
class Pass:
    """What one forward and backward pass brought.

    Attributes:
        selected: The explained scalars.
        reads: ``{name: leaf}``, the tensors that relevance is read at.
        seen: ``{name: output}`` of the layers asked for.
        grads: Gradients of the reads, then of the layers.
        inputs: The sum of scores of each example, [B].
        collector: The sources.
    """

    selected: Selected
    reads: dict[str, Tensor]
    seen: dict[str, Tensor]
    grads: dict[str, Tensor]
    inputs: Tensor
    collector: SourceCollector


def attribute(
    subject: Subject,
    runtime: Runtime,
    rules: RuleSet,
    request: Request,
    collect: Collect = SourceCollector,
) -> Relevance:
    """Explain a model's outputs; see `Instrumentation.attribute`.

    Args:
        subject: The instrumented model.
        runtime: What its hooks share.
        rules: The rule set in force.
        request: The arguments.
        collect: Makes the collector of sources from B and T.

    Returns:
        The relevance and its ledger.

    Raises:
        InferenceModeError: Under ``torch.inference_mode()``.
    """
    if torch.is_inference_mode_enabled():
        raise InferenceModeError(
            "attribute() was called under torch.inference_mode(), which records no "
            "graph; call it outside, torch.no_grad() is fine."
        )
    call = bind(subject, request.inputs)
    with torch.enable_grad(), _eval_mode(subject):
        run = partial(_run, subject, runtime, call, request, collect)
        done = run(one_by_one=False)
        ledger = _ledger(done)
        if call.batch > 1 and _is_misplaced(done.collector, ledger, rules):
            done.collector.settle(turned=True)
            ledger = _ledger(done)
            if _is_misplaced(done.collector, ledger, rules):
                done = run(one_by_one=True)
                ledger = _ledger(done)
        check_relevance(subject, done.grads)
    return _result(subject, rules, call, done, ledger)


@contextmanager
def _eval_mode(subject: Subject) -> Generator[None]:
    training = [module for module in subject.modules.values() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _run(
    subject: Subject,
    runtime: Runtime,
    call: Call,
    request: Request,
    collect: Collect,
    one_by_one: bool,
) -> Pass:
    """Run forward, then backward: at once, or example by example."""
    length = call.main.shape[1] if _has_positions(call) else None
    collector = collect(call.batch, length)
    reader = Reader(subject, call, request.wrt, request.layers)
    runtime.collector = collector
    try:
        output = reader.forward()
        reader.check_layers()
    finally:
        runtime.collector = None
    mask = call.output_mask
    selected = select(output, request.target, subject.model, call.batch, mask)
    if (read := tuple(reader.reads)) not in subject.walked:  # its graph has one form
        runtime.report_foreign(foreign_functions(selected.scalar))
        subject.walked.add(read)
    del output
    check_output(subject, call, selected.scalar)
    wanted = {**reader.reads, **reader.seen}
    shared = any(len(read) != call.batch for read in reader.reads.values())
    if one_by_one or shared:  # a table of positions is read for all examples at once
        grads, inputs = _one_by_one(selected.scalar, wanted, reader.reads, collector)
    else:
        grads = _gradients(selected.scalar, wanted, None)
        inputs = _sum_rows(reader.reads, grads)
        collector.settle()
    return Pass(selected, reader.reads, reader.seen, grads, inputs, collector)


def _has_positions(call: Call) -> bool:
    is_text = not call.main.is_floating_point() and call.main.ndim == 2
    return is_text or call.main.ndim == 3


def _gradients(
    scalar: Tensor, wanted: dict[str, Tensor], seed: Tensor | None
) -> dict[str, Tensor]:
    live = {name: t for name, t in wanted.items() if t.requires_grad}
    grads: dict[str, Tensor | None] = {}
    if scalar.requires_grad and live:
        found = torch.autograd.grad(
            scalar,
            list(live.values()),
            torch.ones_like(scalar) if seed is None else seed,
            retain_graph=seed is not None,
            allow_unused=True,
        )
        grads = dict(zip(live, found, strict=True))
    return {
        name: torch.zeros_like(t) if grads.get(name) is None else grads[name].detach()  # type: ignore[union-attr]
        for name, t in wanted.items()
    }


def _one_by_one(
    scalar: Tensor,
    wanted: dict[str, Tensor],
    reads: dict[str, Tensor],
    collector: SourceCollector,
) -> tuple[dict[str, Tensor], Tensor]:
    """Run one backward pass an example: then every term is that example's own."""
    batch = collector.batch
    total = {name: torch.zeros_like(t) for name, t in wanted.items()}
    sources: dict[str, list[Tensor]] = {}
    positions: dict[str, Tensor] = {}
    inputs = torch.zeros(batch, dtype=torch.float64, device=scalar.device)
    for row in range(batch):
        collector.clear()
        collector.row = row
        seed = torch.zeros_like(scalar)
        seed[row] = 1.0
        grads = _gradients(scalar, wanted, seed)
        inputs[row] = sum(_values(t, grads[n]).double().sum() for n, t in reads.items())
        for name, grad in grads.items():
            total[name] += grad
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


def _sum_rows(reads: dict[str, Tensor], grads: dict[str, Tensor]) -> Tensor:
    rows = [
        _values(read, grads[name]).double().reshape(len(read), -1).sum(1)
        for name, read in reads.items()
    ]
    return torch.stack(rows).sum(0)


def _values(read: Tensor, grad: Tensor) -> Tensor:
    return read.detach() * grad


def _scores(values: Tensor) -> Tensor:
    if values.ndim == 3:
        return values.sum(-1)
    return values.sum(1) if values.ndim == 4 else values


def _ledger(done: Pass) -> Ledger:
    output = done.selected.scalar.detach()
    sources = {n: v.to(output.device) for n, v in done.collector.sources.items()}
    if not done.selected.scalar.requires_grad:
        sources["constant output"] = output.double()
    positions = dict(done.collector.positions)
    inputs = done.inputs.to(torch.promote_types(output.dtype, torch.float32))
    return Ledger(inputs, sources, positions, output)


def _is_misplaced(collector: SourceCollector, ledger: Ledger, rules: RuleSet) -> bool:
    """Tell whether rows of a batch were taken for another example's."""
    # Such a ledger closes in total, but not for each example.
    if collector.unplaced:
        return True
    if not rules.complete:
        return collector.ambiguous
    tolerance = torch.finfo(ledger.output.dtype).eps ** 0.6
    if bool((ledger.error < tolerance).all()):
        return False
    gaps = ledger.output.double() - ledger.total.double()
    return bool(gaps.sum().abs() < 0.01 * gaps.abs().sum())


def _result(
    subject: Subject, rules: RuleSet, call: Call, done: Pass, ledger: Ledger
) -> Relevance:
    values = {name: _values(t, done.grads[name]) for name, t in done.reads.items()}
    scores = {name: _scores(v) for name, v in values.items()}
    single = len(values) == 1
    return Relevance(
        scores=next(iter(scores.values())) if single else scores,
        values=next(iter(values.values())) if single else values,
        output=ledger.output,
        target=done.selected.target,
        method="lrp",
        tokens=None,
        attended=None if call.mask is None else call.mask.detach() != 0,
        layers={n: _values(t, done.grads[n]) for n, t in done.seen.items()},
        ledger=ledger,
        meta={
            "rules": rules.name,
            "read": list(done.reads),
            "model": type(subject.model).__name__,
        },
    )
