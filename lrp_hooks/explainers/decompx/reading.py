"""Where DecompX reads, found by what a model does rather than by its names.

The published code starts at the output of the embedding LayerNorm; in its first layer
the value's bias follows attention. Both are found on the tape of a forward pass that
ends at the first attention.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ...attribution.inputs import bind
from ...attribution.instrument import instrument
from ...attribution.passes import Forward, Request, forward_pass, prepared
from ...attribution.reader import InputOf
from ...attribution.sharing import shared
from ...engine.sources import SourceCollector
from ...engine.subject import Subject
from ...engine.surroundings import storage_address
from ...errors import UnruledError, UnsupportedModelError
from .blocks import SUPPORTED
from .recorder import recording
from .tape import FirstMix, Node, Tape

__all__ = ["Place", "find_place", "record"]


@dataclass(frozen=True)
class Place:
    """Where relevance is read.

    Attributes:
        wrt: A module's name, or its `InputOf`; None for the input embeddings.
        value_bias: The name of the first attention's value bias, or None.
    """

    wrt: str | None = None
    value_bias: str | None = None


def find_place(model: nn.Module, inputs: Any) -> Place:
    """Find the embedding LayerNorm, or else the first block.

    Args:
        model: Any model.
        inputs: What it is called with.

    Returns:
        The place; an empty one for a model without attention.
    """
    return shared("place", model, inputs, lambda: _found(Subject(model), inputs))


def _found(subject: Subject, inputs: Any) -> Place:
    try:
        _run(subject, inputs, Tape(to_first_mix=True), None, strict=False)
    except FirstMix as first:
        main = bind(subject, inputs).main
        wrt = _wrt(subject, first, main.shape[: 1 if main.is_floating_point() else 2])
        return Place(wrt, _value_bias(subject.model, first.node))
    return Place()


def record(model: nn.Module, inputs: Any, wrt: str | None) -> tuple[Tape, Forward]:
    """Record a whole forward pass.

    Args:
        model: The model.
        inputs: What it is called with.
        wrt: See `Place`.

    Returns:
        The tape, and what came out.

    Raises:
        UnsupportedModelError: If the model calls a function that no rule set knows.
    """
    tape = Tape()
    try:
        return tape, _run(Subject(model), inputs, tape, wrt, strict=True)
    except UnruledError as error:
        what = str(error).partition(", bends")[0]
        raise UnsupportedModelError(f"{what}, is unknown. {SUPPORTED}") from error


def _run(
    subject: Subject, inputs: Any, tape: Tape, wrt: str | None, strict: bool
) -> Forward:
    request = Request(inputs, None, wrt, (), _ignore)
    with instrument(subject.model, rules=recording(tape), strict=strict) as lrp:
        lrp.runtime.settled = _ignore  # the pass that explains will warn
        with prepared(subject, inputs) as call:
            return forward_pass(subject, lrp.runtime, call, request, SourceCollector)


def _ignore(*_: object) -> None:
    pass


def _wrt(subject: Subject, first: FirstMix, shape: torch.Size) -> str | None:
    """Return the last LayerNorm before the first block, else the block's input.

    Args:
        subject: The model.
        first: Its first attention.
        shape: How the tensor that is read must begin, [B, T] or [B].

    Returns:
        A module's name, its `InputOf`, or None where neither serves.
    """
    block = _block(subject, first.frames)
    if block is None:
        return None
    if (first_block := _first_beside(subject, block)) != block:
        return InputOf(first_block)  # a hybrid: others mix tokens before attention does
    before = list(_before(first.node, f"{block}."))
    for node in before:
        is_leaf = next(subject.modules[node.module].children(), None) is None
        if node.kind == "norm" and is_leaf and _has_tokens(node, shape):
            return node.module
    if _is_time_first(subject, first.frames) or not _has_tokens(before[0], shape):
        return None
    return InputOf(block)


def _has_tokens(node: Node, shape: torch.Size) -> bool:
    return node.value.ndim == 3 and node.value.shape[: len(shape)] == shape


def _block(subject: Subject, frames: tuple[str, ...]) -> str | None:
    """Return the outermost running module in a list of modules, behind embeddings."""
    lists = (nn.ModuleList, nn.ModuleDict, nn.Sequential)
    for name in frames:
        around = any(table.startswith(f"{name}.") for table in subject.embeddings)
        listed = isinstance(subject.modules.get(name.rpartition(".")[0]), lists)
        if name and listed and not around:
            return name
    return None


def _first_beside(subject: Subject, block: str) -> str:
    """Return the first module of the list that a block stands in."""
    around = block.rpartition(".")[0]
    beside = subject.modules[around].named_children()
    return next(f"{around}.{name}" if around else name for name, _ in beside)


def _is_time_first(subject: Subject, frames: tuple[str, ...]) -> bool:
    flags = (getattr(subject.modules[name], "batch_first", True) for name in frames)
    return not all(flags)


def _before(node: Node, block: str) -> Generator[Node]:
    """Walk back out of a block, then on while there is one way to go."""
    while node.inputs and f"{node.module}.".startswith(block):
        node = node.input
    yield node
    while len(node.inputs) == 1:
        node = node.input
        yield node


def _value_bias(model: nn.Module, mix: Node) -> str | None:
    """Return the name of the bias that was added to the values."""
    for node in _value_layers(mix.input):
        bias = node.settings["bias"]
        if bias is not None:
            address = storage_address(bias)
            named = model.named_parameters()
            return next((n for n, p in named if storage_address(p) == address), None)
    return None


def _value_layers(node: Node) -> Generator[Node]:
    """List the linear layers that values are made by: one, or with adapters more."""
    if node.kind in {"linear", "addmm"}:
        yield node
    elif node.kind != "norm":
        for source in node.inputs:
            yield from _value_layers(source)
