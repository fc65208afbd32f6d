"""One explanation: read-out, forward, one backward, the ledger."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .backward import by_example, gradients, relevance_of, sum_rows
from .checks import TARGET, Complain, check_reached, check_target, watch_target
from .errors import InferenceModeError
from .finite import check_output, check_relevance
from .foreign import depends, foreign_functions
from .hooks import Runtime
from .inputs import Call, advising, bind
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
    """The arguments of `Instrumentation.attribute`, and what to do about bad scores.

    Attributes:
        complain: Called with a message on what makes the scores misleading.
    """

    inputs: Any
    target: Any
    wrt: str | Sequence[str] | None
    layers: tuple[str, ...]
    complain: Complain


@dataclass
class Pass:
    """What one forward and backward pass brought.

    Attributes:
        selected: The explained scalars.
        reads: ``{name: leaf}``, the tensors that relevance is read at.
        seen: ``{name: output}`` of the layers asked for.
        grads: Gradients of the reads, then of the layers, where one came.
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
        done, ledger = _placed(run, call, rules)
        check_relevance(subject, done.grads)
        reached = any(name in done.grads for name in done.reads)
        if not reached and _is_cut(subject, runtime, call, request):
            check_reached(done.reads, request.complain)
        elif reached and rules.complete and TARGET in done.collector.sources:
            entering = done.collector.sources[TARGET]
            check_target(request.target, entering, ledger, request.complain)
    return _result(subject, rules, call, done, ledger)


def _placed(
    run: Callable[..., Pass], call: Call, rules: RuleSet
) -> tuple[Pass, Ledger]:
    """Run, again if need be, until each term is its own example's."""
    done = run(one_by_one=False)
    ledger = _ledger(done)
    if call.batch > 1 and _is_misplaced(done.collector, ledger, rules):
        done.collector.settle(turned=True)
        ledger = _ledger(done)
        if _is_misplaced(done.collector, ledger, rules):
            done = run(one_by_one=True)
            ledger = _ledger(done)
    return done, ledger


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
    with advising(call):
        selected = _select(subject, runtime, reader, request.target, collector)
    if (read := tuple(reader.reads)) not in subject.walked:  # its graph has one form
        runtime.report_foreign(foreign_functions(selected.scalar))
        subject.walked.add(read)
    check_output(subject, call, selected.scalar)
    wanted = {**reader.reads, **reader.seen}
    shared = any(len(read) != call.batch for read in reader.reads.values())
    if one_by_one or shared:  # a table of positions is read for all examples at once
        grads, inputs = by_example(selected.scalar, wanted, reader.reads, collector)
    else:
        grads = gradients(selected.scalar, wanted, None)
        inputs = sum_rows(reader.reads, grads)
        collector.settle()
    return Pass(selected, reader.reads, reader.seen, grads, inputs, collector)


def _select(
    subject: Subject,
    runtime: Runtime,
    reader: Reader,
    target: Any,
    collector: SourceCollector,
) -> Selected:
    """Run the model, and select what is explained."""
    runtime.collector = collector
    try:
        output = reader.forward()
        reader.check_layers()
    finally:
        runtime.collector = None
    if callable(target):
        output = watch_target(output, collector)
    call = reader.call
    return select(output, target, subject.model, call.batch, call.output_mask)


def _has_positions(call: Call) -> bool:
    is_text = not call.main.is_floating_point() and call.main.ndim == 2
    return is_text or call.main.ndim == 3


def _scores(values: Tensor) -> Tensor:
    if values.ndim == 3:
        return values.sum(-1)
    return values.sum(1) if values.ndim == 4 else values


def _ledger(done: Pass) -> Ledger:
    output = done.selected.scalar.detach()
    found = done.collector.sources.items()
    sources = {n: v.to(output.device) for n, v in found if n != TARGET}
    if not done.selected.scalar.requires_grad:
        sources["constant output"] = output.double()
    positions = {n: v for n, v in done.collector.positions.items() if n != TARGET}
    inputs = done.inputs.to(torch.promote_types(output.dtype, torch.float32))
    return Ledger(inputs, sources, positions, output)


def _is_misplaced(collector: SourceCollector, ledger: Ledger, rules: RuleSet) -> bool:
    """Tell whether rows of a batch were taken for another example's."""
    # Such a ledger closes in total, but not for each example.
    if collector.unplaced:
        return True
    if not rules.complete:
        return collector.ambiguous
    # What a target function leaks is no misplacement; that it mixes examples is.
    entering = collector.sources.get(TARGET, ledger.output)
    terms = [t.cpu().double() for t in (ledger.output, entering, ledger.total)]
    tolerance = torch.finfo(ledger.output.dtype).eps ** 0.6 * ledger.scale
    return any(_cancels(a - b, tolerance) for a, b in pairwise(terms))


def _cancels(gaps: Tensor, tolerance: Tensor) -> bool:
    """Tell whether the gaps of a batch, [B], are not small but sum to nothing."""
    small = bool((gaps.abs() <= tolerance).all())
    return not small and bool(gaps.sum().abs() < 0.01 * gaps.abs().sum())


def _is_cut(subject: Subject, runtime: Runtime, call: Call, request: Request) -> bool:
    """Tell whether it is no rule that keeps relevance from what is read."""
    reader = Reader(subject, call, request.wrt, ())
    runtime.paused = True
    try:
        collector = SourceCollector(call.batch, None)
        plain = _select(subject, runtime, reader, request.target, collector)
    finally:
        runtime.paused = False
    return not depends(plain.scalar, reader.reads.values())


def _result(
    subject: Subject, rules: RuleSet, call: Call, done: Pass, ledger: Ledger
) -> Relevance:
    values = {
        name: relevance_of(t, done.grads.get(name)) for name, t in done.reads.items()
    }
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
        layers={n: relevance_of(t, done.grads.get(n)) for n, t in done.seen.items()},
        ledger=ledger,
        meta={
            "rules": rules.name,
            "read": list(done.reads),
            "model": type(subject.model).__name__,
        },
    )
