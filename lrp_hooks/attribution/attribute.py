"""One explanation: read-out, forward, one backward, the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from ..engine.autograd import carries
from ..engine.foreign import depends, last_gate
from ..engine.ruleset import RuleSet
from ..engine.runtime import Runtime
from ..engine.sharding import agreed
from ..engine.sources import SourceCollector
from ..engine.subject import Subject
from ..errors import ArgumentError
from ..results.ledger import Ledger, wide
from ..results.relevance import Relevance
from .backward import relevance_of
from .checks import (
    TARGET,
    check_closes,
    check_frozen,
    check_gate,
    check_reached,
    check_repeats,
    check_rows,
    check_target,
)
from .finite import check_ledger, check_relevance
from .inputs import Call, advising
from .passes import (
    Collect,
    Forward,
    Pass,
    Request,
    backward_pass,
    forward_pass,
    prepared,
    select_target,
)
from .readout import class_logits
from .seen import boxes_of, patches_of, pictures_of, scores_of, sounds_of
from .sharing import is_repeating, shared

__all__ = ["Request", "attribute", "attribute_each"]


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
    """
    with prepared(subject, request.inputs, request.batch_dim) as call:
        # What a pass depends on beside the model and its hooks.
        given = (
            request.inputs,
            request.wrt,
            request.layers,
            request.batch_dim,
            callable(request.target),
        )
        again = is_repeating() and collect is SourceCollector

        def forward() -> Forward:
            return forward_pass(subject, runtime, call, request, collect)

        def run(one_by_one: bool, probe: bool = False) -> Pass:
            done = (
                shared(runtime, subject.model, given, forward) if again else forward()
            )
            return backward_pass(
                subject, runtime, done, request.target, one_by_one, again, probe
            )

        # An audit counts what each backward pass brings, and needs no examples apart.
        probes = collect is SourceCollector
        return _explained(subject, runtime, rules, request, call, run, probes)


def attribute_each(
    subject: Subject, runtime: Runtime, rules: RuleSet, request: Request
) -> list[Relevance]:
    """Explain all outputs; see `Instrumentation.attribute_each`.

    Args:
        subject: The instrumented model.
        runtime: What its hooks share.
        rules: The rule set in force.
        request: The arguments; the target is not read.

    Returns:
        The relevance of each class.
    """
    results = []
    with prepared(subject, request.inputs, request.batch_dim) as call:
        forward = forward_pass(subject, runtime, call, request, SourceCollector)
        with advising(call):
            logits = class_logits(
                forward.output, call.batch, call.output_mask, call.batch_dim
            )
        for target in range(logits.shape[1]):

            def run(
                one_by_one: bool, probe: bool = False, target: int = target
            ) -> Pass:
                return backward_pass(
                    subject, runtime, forward, target, one_by_one, True, probe
                )

            one = replace(request, target=target)
            results.append(_explained(subject, runtime, rules, one, call, run, True))
    return results


def _explained(
    subject: Subject,
    runtime: Runtime,
    rules: RuleSet,
    request: Request,
    call: Call,
    run: Callable[..., Pass],
    probes: bool,
) -> Relevance:
    done, ledger = _placed(subject, run, call, rules, request, probes)
    if request.wrt is None:
        nodes = -1 if call.owner is None else len(call.owner)
        modules = {
            n: t
            for n, t in done.forward.reads.items()
            if n not in call.tensors and len(t) != nodes
        }
        _check_rows_read(modules, call.batch)
    check_relevance(subject, done.grads)
    check_ledger(ledger)
    if done.apart is not None:
        check_rows(done.apart.strays, ledger, call.main.shape, request.complain)
    reached = any(name in done.grads for name in done.forward.reads)
    if not reached:
        _check_path(subject, runtime, call, done, request)
    elif reached and rules.complete and TARGET in done.collector.sources:
        entering = done.collector.sources[TARGET]
        check_target(request.target, entering, ledger, request.complain)
    elif rules.complete and done.apart is None and not runtime.told:
        check_closes(ledger, request.complain)
    return _result(subject, rules, call, done, ledger)


def _check_rows_read(reads: dict[str, Tensor], batch: int) -> None:
    """Refuse rows that are no examples where nobody asked for them."""
    for name, read in reads.items():
        if len(read) != batch:
            raise ArgumentError(
                f"the model reads {batch} examples as {len(read)} rows at {name!r}, of "
                f"shape {tuple(read.shape)}, so scores would be no example's; explain "
                "the rows one by one, or name what to read with wrt=."
            )


def _placed(
    subject: Subject,
    run: Callable[..., Pass],
    call: Call,
    rules: RuleSet,
    request: Request,
    probes: bool,
) -> tuple[Pass, Ledger]:
    """Run, again if need be, until each term is its own example's."""
    # A ledger that is open cannot show by its sums that examples mix.
    wrt = request.wrt
    read = wrt if wrt is None or isinstance(wrt, str) else tuple(wrt)
    key = (read, getattr(request.target, "__code__", None))
    probe = (
        probes and call.batch > 1 and not rules.complete and key not in subject.apart
    )
    done = first = run(one_by_one=False, probe=probe)
    ledger = _ledger(done)
    if probe and done.apart is None:
        subject.apart.add(key)
    if done.apart is None and call.batch > 1:
        if _is_misplaced(done.collector, ledger, rules):
            done.collector.settle(turned=True)
            ledger = _ledger(done)
        if agreed(subject.model, _is_misplaced(done.collector, ledger, rules)):
            done = run(one_by_one=True)
            ledger = _ledger(done)
    outputs = [p.selected.scalar.detach() for p in (first, done)]
    check_repeats(outputs if done is not first else outputs[:1], request.complain)
    return done, ledger


def _ledger(done: Pass) -> Ledger:
    output = done.selected.scalar.detach()
    found = done.collector.sources.items()
    sources = {n: v.to(output.device) for n, v in found if n != TARGET}
    if not carries(done.selected.scalar):
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


def _check_path(
    subject: Subject, runtime: Runtime, call: Call, done: Pass, request: Request
) -> None:
    """Complain where more than a rule keeps relevance from what is read."""
    runtime.paused = True
    try:
        whole = replace(request, layers=(), complain=lambda message: None)
        plain = forward_pass(subject, runtime, call, whole, SourceCollector)
    finally:
        runtime.paused = False
    scalar = select_target(subject, plain, request.target).scalar
    if not depends(scalar, plain.reads.values()):
        check_reached(done.forward.reads, request.complain)
    elif done.forward.gate is None and (gate := last_gate(scalar)) is not None:
        check_gate(gate, request.complain, replaced=False)
    elif len(call.content) > 1 and request.wrt is None:
        # One input may be a query alone, which is frozen by right; not all there are.
        check_frozen(done.forward.reads, request.complain)


def _result(
    subject: Subject, rules: RuleSet, call: Call, done: Pass, ledger: Ledger
) -> Relevance:
    forward = done.forward
    values = {n: relevance_of(x, done.grads.get(n)) for n, x in forward.reads.items()}
    seen = {n: relevance_of(x, done.of_layer(n)) for n, x in forward.seen.items()}
    scores = {n: scores_of(n, v, subject.model, done) for n, v in values.items()}
    _check_sums(scores, ledger)
    single = len(values) == 1
    gate = forward.gate
    return Relevance(
        scores=next(iter(scores.values())) if single else scores,
        values=next(iter(values.values())) if single else values,
        output=ledger.output,
        target=done.selected.target,
        method="lrp",
        tokens=None,
        attended=call.attended,
        images=pictures_of(scores, forward.reads, call.batch),
        layers=seen,
        ledger=ledger,
        meta={
            "rules": rules.name,
            "read": list(forward.reads),
            "model": type(subject.model).__name__,
            **patches_of(scores, subject.model, call.floats),
            **sounds_of(scores, call.floats),
            **boxes_of(done.selected.target),
            **({} if gate is None else {"explained": f"the input of {gate}"}),
        },
    )


def _check_sums(scores: dict[str, Tensor], ledger: Ledger) -> None:
    """Assert that each example's scores sum to its entry in the ledger."""
    parts = list(scores.values())
    if any(len(part) != len(ledger.inputs) for part in parts):
        return  # read for all examples at once
    rows = [wide(part).reshape(len(part), -1) for part in parts]
    size = torch.stack([row.abs().sum(1) for row in rows]).sum(0) + ledger.scale
    gap = torch.stack([row.sum(1) for row in rows]).sum(0) - wide(ledger.inputs)
    eps = max(torch.finfo(part.dtype).eps for part in (*parts, ledger.inputs))
    assert bool((gap.abs() <= eps**0.6 * size).all())
