"""A forward pass that records, and the backward passes through what it recorded."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.gathering import selects_much
from ..engine.nested import first_tensor, replace_floats
from ..engine.runtime import Runtime
from ..engine.sharding import whole_output
from ..engine.shares import share_of
from ..engine.sources import SourceCollector
from ..engine.subject import Subject
from ..engine.undo import undoing
from ..engine.unseen import Differentiates
from ..engine.walk import modules_of
from ..errors import InferenceModeError, UnsupportedModelError
from .backward import Apart, by_example, gradients, mixes, sum_rows
from .checks import Complain, check_gate, check_repeats, watch_target
from .content import may_be_merged
from .finite import check_output
from .inputs import Call, advising, bind
from .latent import split_layers, watched_latent
from .readable import check_loaded
from .reader import Reader
from .readout import Contrast, Selected, find_logits, select
from .rows import check_rows

__all__ = [
    "Collect",
    "Forward",
    "Pass",
    "Request",
    "backward_pass",
    "eval_mode",
    "forward_pass",
    "prepared",
    "select_target",
]

Collect = Callable[[int, int | None], SourceCollector]


@dataclass(frozen=True)
class Request:
    """The arguments of `Instrumentation.attribute`, and what to do about bad scores.

    Attributes:
        complain: Called with a message on what makes the scores misleading.
        batch_dim: Which axis of the inputs counts the examples.
        whole: Whether blocks that are asked for need not be cuts; see `watched_blocks`.
    """

    inputs: Any
    target: Any
    wrt: str | Sequence[str] | None
    layers: tuple[str, ...]
    complain: Complain
    batch_dim: int = 0
    whole: bool = False


@dataclass
class Forward:
    """What one forward pass brought.

    Attributes:
        call: How the model was called.
        output: What it returned.
        reads: ``{name: leaf}``, the tensors that relevance is read at.
        seen: ``{name: output}`` of the layers asked for.
        collector: Where the backward passes enter sources.
        gate: The function whose input took the place of the output, if one did.
        blocks: Those of ``seen`` that are the residual stream after each block.
    """

    call: Call
    output: Any
    reads: dict[str, Tensor]
    seen: dict[str, Tensor]
    collector: SourceCollector
    gate: str | None = None
    blocks: tuple[str, ...] = ()


@dataclass
class Pass:
    """What one forward and backward pass brought.

    Attributes:
        forward: The forward pass.
        selected: The explained scalars.
        grads: Gradients of the reads, and of the layers by other keys, where one came.
        inputs: The sum of scores of each example, [B].
        apart: What one backward pass an example brought; None where all examples had
            one together.
    """

    forward: Forward
    selected: Selected
    grads: dict[str, Tensor]
    inputs: Tensor
    apart: Apart | None = None

    def of_layer(self, name: str) -> Tensor | None:
        """Return the gradient of a layer's output; None where none came."""
        return self.grads.get(_layer(name))

    @property
    def collector(self) -> SourceCollector:
        """The sources."""
        return self.forward.collector


@contextmanager
def prepared(subject: Subject, inputs: Any, batch_dim: int = 0) -> Generator[Call]:
    """Bind the inputs, and set grad and eval mode.

    Args:
        subject: The model.
        inputs: See `Instrumentation.attribute`.
        batch_dim: See `Instrumentation.attribute`.

    Yields:
        How the model is to be called.

    Raises:
        InferenceModeError: Under ``torch.inference_mode()``.
    """
    if torch.is_inference_mode_enabled():
        raise InferenceModeError(
            "attribute() was called under torch.inference_mode(), which records no "
            "graph; call it outside, torch.no_grad() is fine."
        )
    call = bind(subject, inputs, batch_dim)
    check_rows(subject.model, call.batch)
    with undoing() as undo, eval_mode(subject.model):
        undo.add(partial(torch.set_grad_enabled, torch.is_grad_enabled()))
        torch.set_grad_enabled(True)
        yield call


@contextmanager
def eval_mode(model: nn.Module) -> Generator[None]:
    """Switch training off, and then on again where it was on.

    Args:
        model: The model.

    Yields:
        Nothing.
    """
    training = [module for module in modules_of(model) if module.training]

    def train() -> None:
        for module in training:
            module.training = True

    with undoing() as undo:
        undo.add(train)
        for module in training:
            module.training = False
        yield


def forward_pass(
    subject: Subject,
    runtime: Runtime,
    call: Call,
    request: Request,
    collect: Collect,
) -> Forward:
    """Run the model with leaves where relevance is read.

    Args:
        subject: The instrumented model.
        runtime: What its hooks share.
        call: How it is called.
        request: What is read and watched.
        collect: Makes the collector of sources from B and T.

    Returns:
        What came out.
    """
    length = call.rows.shape[1] if _has_positions(call) else None
    collector = collect(call.batch, length)
    layers, asked = split_layers(subject, request.layers, request.whole)
    reader = Reader(subject, call, request.wrt, layers)
    collector.spread = reader.spread
    try:
        with runtime.lending(collector, reader.reads), runtime.eager():
            with watched_latent(subject, runtime, collector, asked) as latent:
                with advising(call):
                    output = reader.forward()
                    check_loaded(output)
    except Differentiates:
        runtime.tell_differentiates(bool(asked))
        return forward_pass(subject, runtime, call, request, collect)
    if collector.spread:
        output = replace_floats(output, whole_output)
    reader.check_layers()
    check_repeats(reader.outputs, request.complain)
    aside = any(value is not call.main for value in reader.inputs.values())
    if aside or len(reader.inputs) > 1:
        collector.length = None  # a term's length does not tell whose places it has
    elif collector.length is None:
        collector.length = _length_read(reader.reads)
    seen = {**reader.seen, **latent.heads, **latent.blocks}
    blocks = tuple(latent.blocks)
    forward = Forward(call, output, reader.reads, seen, collector, blocks=blocks)
    _look_behind(forward, request)
    return forward


def _look_behind(forward: Forward, request: Request) -> None:
    """Explain the logit where the model returns a gate that was made of it."""
    gate, forward.collector.gate = forward.collector.gate, None
    is_function = callable(request.target) and not isinstance(request.target, Contrast)
    if gate is None or is_function or first_tensor(forward.output) is None:
        return
    logits = gate.behind(find_logits(forward.output))
    if logits is not None:
        forward.output, forward.gate = logits, gate.name
        check_gate(gate.name, request.complain)


def backward_pass(
    subject: Subject,
    runtime: Runtime,
    forward: Forward,
    target: Any,
    one_by_one: bool,
    retain: bool = False,
    probe: bool = False,
) -> Pass:
    """Run backward from a target: at once, or example by example.

    Args:
        subject: The instrumented model.
        runtime: What its hooks share.
        forward: The forward pass.
        target: See `Instrumentation.attribute`.
        one_by_one: Whether to run one backward pass an example.
        retain: Whether another target's backward pass is to follow.
        probe: Whether to find out if examples mix, by a backward pass more.

    Returns:
        What both passes brought.
    """
    reads, collector = forward.reads, forward.collector
    collector.clear()
    selected = select_target(subject, forward, target)
    # The nodes themselves must not outlive this: they hold what rules have kept.
    selects = selects_much(runtime.report_graph(selected.scalar, collector))
    check_output(subject, forward.call, selected.scalar)
    wanted = {**reads, **{_layer(name): x for name, x in forward.seen.items()}}
    shared = any(len(read) != forward.call.batch for read in reads.values())
    scalar = selected.scalar
    if not one_by_one and not shared:
        seed = torch.ones_like(scalar) if retain or probe else None
        grads = gradients(scalar, wanted, seed, selects)
        inputs = sum_rows(reads, grads)
        collector.settle()
        one_by_one = probe and mixes(scalar, reads, grads)
    if not (one_by_one or shared):
        return Pass(forward, selected, grads, inputs)
    call = forward.call
    merged = {n for n, t in call.floats.items() if t is not call.main}
    merged = set(filter(may_be_merged, merged))
    apart = by_example(scalar, wanted, reads, collector, merged)
    return Pass(forward, selected, apart.grads, apart.inputs, apart)


def _layer(name: str) -> str:
    """Key a layer's gradient apart from that of an input of the same name."""
    return f"{name} (layer)"


def select_target(subject: Subject, forward: Forward, target: Any) -> Selected:
    """Select what is explained.

    Args:
        subject: The model.
        forward: The forward pass.
        target: See `Instrumentation.attribute`.

    Returns:
        The scalars, [B], and what they are.

    Raises:
        UnsupportedModelError: If they are one rank's share of something.
    """
    output, call = forward.output, forward.call
    with advising(call):
        if callable(target):
            output = watch_target(output, forward.collector)
        selected = select(
            output,
            target,
            subject.model,
            call.batch,
            call.output_mask,
            call.batch_dim,
        )
    if forward.collector.spread and share_of(selected.scalar) is not None:
        raise UnsupportedModelError(
            "what is explained is one rank's share of a value; explain an output that "
            "is whole on every rank, such as one of output_layouts=Replicate()."
        )
    return selected


def _length_read(reads: dict[str, Tensor]) -> int | None:
    """Return T where tokens are read though inputs have none: an image's patches."""
    lengths = {read.shape[1] for read in reads.values() if read.ndim == 3}
    return lengths.pop() if len(lengths) == 1 else None


def _has_positions(call: Call) -> bool:
    is_text = not call.main.is_floating_point() and call.main.ndim == 2
    return is_text or call.main.ndim == 3
