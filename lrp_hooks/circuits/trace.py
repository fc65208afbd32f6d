"""One example through the linearised twin: what every node carries.

One backward pass gives the coefficient c of every node, R = a c.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..attribution.backward import relevance_of
from ..attribution.checks import TARGET
from ..attribution.finite import check_relevance
from ..attribution.instrument import Instrumentation
from ..attribution.passes import (
    Forward,
    Pass,
    Request,
    backward_pass,
    forward_pass,
    prepared,
)
from ..attribution.places import by_place, has_bands_first
from ..engine.autograd import carries
from ..engine.subject import Subject
from ..errors import ArgumentError, TargetError, UnruledWarning
from ..generation.batched import Noting
from .examples import Example
from .experts import Rows
from .sites import NEURON, Site, find_sites
from .watching import acting

__all__ = ["Traced", "Visitor", "read_relevance", "run_twin", "sites_of", "traced"]


@dataclass(frozen=True, eq=False)
class Traced:
    """What one backward pass of the uncut twin brings, for S sites.

    Attributes:
        activations: What enters each site, [R, W] each.
        coefficients: The relevance of each number divided by it, alike.
        rows: Whose the rows are.
        inputs: The relevance of what is read, by place, in float64.
        constants: The relevance of every constant.
        output: The explained number.
        target: What was explained.
    """

    activations: list[Tensor]
    coefficients: list[Tensor]
    rows: list[Rows]
    inputs: Tensor
    constants: dict[str, float]
    output: float
    target: Any

    def without_activations(self) -> Traced:
        """Return the rest: activations are needed no more once nodes are chosen."""
        return replace(self, activations=[])


def sites_of(subject: Subject, example: Example, kinds: Sequence[str]) -> list[Site]:
    """Find the sites of an example.

    Args:
        subject: The plain model.
        example: The example.
        kinds: ``"neuron"``, ``"head"`` or both.

    Returns:
        Sites of these kinds, in the order in which they ran.

    Raises:
        ArgumentError: If there is none of a kind.
    """
    with prepared(subject, example.inputs) as call:
        fresh = call.fresh()
        found = find_sites(subject, lambda: subject.model(*fresh.args, **fresh.kwargs))
    for kind in kinds:
        if not any(site.kind == kind for site in found):
            what = _LACKS[kind == NEURON]
            raise ArgumentError(
                f'nodes names "{kind}s", but {type(subject.model).__name__} has no '
                f"{what}; name another kind of node."
            )
    return [site for site in found if site.kind in kinds]


_LACKS = (
    "attention whose heads enter a linear layer",
    "feed-forward layer: no linear layer takes what an activation or a gated product "
    "made, element by element, of other linear layers' outputs",
)


@contextmanager
def run_twin(
    subject: Subject,
    lrp: Instrumentation,
    example: Example,
    sites: Sequence[Site],
    visitor: Visitor,
) -> Generator[Forward]:
    """Run the twin forward, with something done at every site.

    Args:
        subject: The instrumented model.
        lrp: Its instrumentation.
        example: The example.
        sites: Where nodes stand.
        visitor: What is done there.

    Yields:
        The forward pass; all that it recorded is given up in the end.
    """
    request = Request(example.inputs, example.target, None, (), _complain)
    with prepared(subject, example.inputs) as call:
        try:
            with acting(subject, sites, visitor.act, visitor.begin, visitor.after):
                forward = forward_pass(subject, lrp.runtime, call, request, Noting)
            yield forward
        finally:
            lrp.runtime.abandon()


class Visitor:
    """What is done at the sites of a forward pass: nothing, unless a subclass does."""

    def begin(self) -> None:
        """Forget an earlier run: the model may run again to find what is read."""

    def act(self, number: int, x: Tensor, rows: Rows) -> Tensor | None:
        """See what arrives at a site, and hand on something else in its place.

        Args:
            number: The site's.
            x: What arrives, [R, W].
            rows: Whose its rows are.

        Returns:
            What goes on; None for what arrived.
        """

    def after(self, number: int, y: Tensor) -> Tensor:
        """See what the layer behind a site returned, where it is a module.

        Args:
            number: The site's.
            y: What it returned.

        Returns:
            What goes on.
        """
        return y


class _Keeping(Visitor):
    """Keeps what arrives at sites."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.begin()

    def begin(self) -> None:
        self.arriving: list[list[Tensor]] = [[] for _ in range(self.count)]
        self.rows: list[list[Rows]] = [[] for _ in range(self.count)]

    def act(self, number: int, x: Tensor, rows: Rows) -> Tensor | None:
        arriving = x.clone()  # which a model may overwrite
        self.arriving[number].append(arriving)
        self.rows[number].append(rows)
        return arriving.clone() if carries(x) else None


def traced(
    subject: Subject, lrp: Instrumentation, example: Example, sites: Sequence[Site]
) -> Traced:
    """Run forward, and backward through the uncut twin.

    Args:
        subject: The instrumented model.
        lrp: Its instrumentation.
        example: The example.
        sites: Where nodes stand.

    Returns:
        What every node carries.

    Raises:
        TargetError: If nothing that is read reaches the target.
    """
    store = _Keeping(len(sites))
    with run_twin(subject, lrp, example, sites, store) as forward:
        names = {
            f"{s}:{i}": tensor
            for s, parts in enumerate(store.arriving)
            for i, tensor in enumerate(parts)
        }
        forward.seen.update(names)
        done = backward_pass(
            subject, lrp.runtime, forward, example.target, one_by_one=False
        )
    if not any(name in done.grads for name in forward.reads):
        raise TargetError(
            "the target does not depend on what is read of the inputs, as far as "
            f"rules {lrp.rules.name!r} follow it, so no relevance flows and there is "
            "no circuit; explain another output, or choose other rules."
        )
    check_relevance(subject, done.grads)
    return Traced(
        [_joined(parts).detach() for parts in store.arriving],
        [
            _joined([_grad(done, f"{s}:{i}", x) for i, x in enumerate(parts)])
            for s, parts in enumerate(store.arriving)
        ],
        [Rows.joined(parts) for parts in store.rows],
        read_relevance(subject, forward, [done.grads.get(n) for n in forward.reads]),
        {n: float(v) for n, v in done.collector.sources.items() if n != TARGET},
        float(done.selected.scalar.detach()),
        done.selected.target,
    )


def _grad(done: Pass, name: str, x: Tensor) -> Tensor:
    found = done.of_layer(name)
    return torch.zeros_like(x) if found is None else found


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def read_relevance(
    subject: Subject, forward: Forward, grads: Sequence[Tensor | None]
) -> Tensor:
    """Sum the relevance of what is read by place.

    Args:
        subject: The model.
        forward: The forward pass of one example.
        grads: The gradients of its reads.

    Returns:
        [N] in float64, what is read at several inputs one after the other.
    """
    found = []
    for (name, leaf), grad in zip(forward.reads.items(), grads, strict=True):
        bands = name in forward.call.floats and has_bands_first(subject.model, leaf)
        scores = by_place(relevance_of(leaf, grad).double(), bands)
        found.append(scores.flatten())
    return torch.cat(found)


def _complain(message: str) -> None:
    warnings.warn(message, UnruledWarning, stacklevel=2)
