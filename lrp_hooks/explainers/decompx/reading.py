"""Where DecompX reads, found by what a model does rather than by its names.

The published code starts at the output of the embedding LayerNorm; in its first layer
the value's bias follows attention. Both are found on the tape of a forward pass that
ends at the first attention.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from torch import nn

from ...errors import UnruledError, UnsupportedModelError
from ...instrument import instrument
from ...passes import Forward, Request, forward_pass, prepared
from ...reader import InputOf
from ...sources import SourceCollector
from ...subject import Subject
from ...surroundings import storage_address
from .encoder import SUPPORTED
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
    try:
        _run(model, inputs, Tape(to_first_mix=True), None, strict=False)
    except FirstMix as first:
        modules = dict(model.named_modules())
        wrt = _wrt(modules, first.node, _block(modules, first.frames))
        return Place(wrt, _value_bias(model, first.node))
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
        return tape, _run(model, inputs, tape, wrt, strict=True)
    except UnruledError as error:
        what = str(error).partition(", bends")[0]
        raise UnsupportedModelError(f"{what}, is unknown. {SUPPORTED}") from error


def _run(
    model: nn.Module, inputs: Any, tape: Tape, wrt: str | None, strict: bool
) -> Forward:
    subject = Subject(model)
    request = Request(inputs, None, wrt, (), _ignore)
    with instrument(model, rules=tape.rules(), strict=strict) as lrp:
        lrp.runtime.settled = _ignore  # the pass that explains will warn
        with prepared(subject, inputs) as call:
            return forward_pass(subject, lrp.runtime, call, request, SourceCollector)


def _ignore(*_: object) -> None:
    pass


def _block(modules: dict[str, nn.Module], frames: tuple[str, ...]) -> str | None:
    """Return the outermost running module that is one of a list of modules."""
    lists = (nn.ModuleList, nn.ModuleDict, nn.Sequential)
    for name in frames:
        if name and isinstance(modules.get(name.rpartition(".")[0]), lists):
            return name
    return None


def _wrt(modules: dict[str, nn.Module], mix: Node, block: str | None) -> str | None:
    """Return the last LayerNorm before the block, else the block's input."""
    if block is None:
        return None
    for node in _path(mix):
        inside = f"{node.module}.".startswith(f"{block}.")
        is_leaf = next(modules[node.module].children(), None) is None
        if node.kind == "norm" and is_leaf and not inside:
            return node.module
    return InputOf(block)


def _path(node: Node) -> Generator[Node]:
    """Walk back while there is one way to go."""
    while len(node.inputs) == 1:
        yield node
        node = node.input


def _value_bias(model: nn.Module, mix: Node) -> str | None:
    """Return the name of the bias that was added to the values."""
    layers = (node for node in _path(mix) if node.kind in {"linear", "addmm"})
    linear = next(layers, None)
    bias = None if linear is None else linear.settings["bias"]
    if bias is None:
        return None
    address = storage_address(bias)
    named = model.named_parameters()
    return next((n for n, p in named if storage_address(p) == address), None)
