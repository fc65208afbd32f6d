"""Forward passes that several explanations of the same inputs have in common.

What ran once is found again by what went in: the bytes of every tensor. Numbers are
those of a pass of one's own to the bit, which is why a pass is shared whole: the same
text in another batch may differ in its last digit.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Hashable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..engine.nested import replace_floats
from ..results.comparison import Cost
from .copies import held_tensors

__all__ = [
    "Passes",
    "is_repeating",
    "is_sharing",
    "repeating",
    "run_plain",
    "shared",
    "sharing",
    "unshared",
]

_ROOM = 2**28
"""Bytes of outputs that are kept: every batch of perturbed inputs has one."""

T = TypeVar("T")


@dataclass
class Passes:
    """What has run so far.

    Attributes:
        cost: What the explanation under way has cost. A pass that ran for another one
            counts as if it had run again.
        room: Bytes of outputs that may still be kept.
        repeats: Whether another target of the same instrumentation is to follow.
    """

    cost: Cost = field(default_factory=Cost)
    room: int = _ROOM
    repeats: bool = False
    _made: dict[Hashable, tuple[Any, Cost]] = field(default_factory=dict)

    def get(self, key: Hashable, make: Callable[[], T], keeps: bool) -> T:
        """Find what was made, or make it.

        Args:
            key: What goes in.
            make: Runs the model.
            keeps: Whether it is kept whatever its size.

        Returns:
            What came of it.
        """
        if key in self._made:
            made, spent = self._made[key]
            self.cost.calls += spent.calls
            self.cost.sequences += spent.sequences
            self.cost.seconds += spent.seconds
            return made  # type: ignore[no-any-return]
        before, start = replace(self.cost), time.process_time()
        made = make()
        size = 0 if keeps else sum(t.nbytes for t in held_tensors(made))
        if size <= self.room:
            self.room -= size
            self._made[key] = (
                made,
                Cost(
                    self.cost.calls - before.calls,
                    self.cost.sequences - before.sequences,
                    time.process_time() - start,
                ),
            )
        return made


_passes: ContextVar[Passes | None] = ContextVar("_passes", default=None)


@contextmanager
def sharing() -> Generator[Passes]:
    """Share passes until the end; models must stay as they are.

    Yields:
        What is shared.
    """
    token = _passes.set(Passes())
    try:
        yield _passes.get()  # type: ignore[misc]
    finally:
        _passes.reset(token)


@contextmanager
def unshared() -> Generator[Passes]:
    """Run what follows as if nothing were shared.

    Yields:
        What counts the cost.
    """
    token = _passes.set(None)
    try:
        yield Passes()
    finally:
        _passes.reset(token)


def is_sharing() -> bool:
    """Tell whether another explanation may need the graph of a pass."""
    return _passes.get() is not None


@contextmanager
def repeating(again: bool) -> Generator[None]:
    """Keep the graphs of an instrumentation's passes for other targets, where shared.

    Args:
        again: Whether the instrumentation stays.

    Yields:
        Nothing.
    """
    passes = _passes.get() or Passes()
    passes.repeats = again
    try:
        yield
    finally:
        passes.repeats = False


def is_repeating() -> bool:
    """Tell whether the same rules are to explain another output of the same inputs."""
    passes = _passes.get()
    return passes is not None and passes.repeats


def shared(
    what: Hashable,
    model: nn.Module,
    inputs: Any,
    make: Callable[[], T],
    keeps: bool = True,
) -> T:
    """Run a model, or find what a pass has brought before.

    Args:
        what: What kind of pass it is, with all that it depends on but the inputs.
        model: The model.
        inputs: What it is called with.
        make: Runs it.
        keeps: Whether what it brings is kept whatever its size. Defaults to ``True``.

    Returns:
        What `make` returns; nobody may change it.
    """
    passes = _passes.get()
    if passes is None:
        return make()
    try:
        key = (what, id(model), _told(inputs))
    except _UntoldError:
        return make()
    return passes.get(key, make, keeps)


def run_plain(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a model without a graph, or find what it has returned before.

    Args:
        model: The model, in eval mode.
        args: Positional arguments.
        kwargs: Keyword arguments.

    Returns:
        What it returns; nobody may change it.
    """

    def call() -> Any:
        with torch.no_grad():
            output = model(*args, **kwargs)
        # A model may return its own memory, which its next call overwrites.
        return replace_floats(output, torch.clone) if is_sharing() else output

    return shared("plain", model, (args, kwargs), call, keeps=False)


class _UntoldError(Exception):
    """Something that only its owner can tell from others, such as a cache."""


def _told(value: Any) -> Hashable:
    """Tell values apart by what they hold.

    Returns:
        The same for the same.

    Raises:
        _UntoldError: If one is neither a tensor nor plain.
    """
    if isinstance(value, Tensor):
        return _digest(value)
    if isinstance(value, Mapping):
        return (type(value), tuple((key, _told(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return (type(value), tuple(_told(item) for item in value))
    if value is None or isinstance(value, bool | int | float | str):
        return (type(value), value)
    raise _UntoldError


def _digest(tensor: Tensor) -> Hashable:
    """Tell dense tensors apart.

    Returns:
        The same for the same.

    Raises:
        _UntoldError: If it is of another kind.
    """
    if type(tensor) is not Tensor or tensor.layout != torch.strided or tensor.is_meta:
        raise _UntoldError
    held = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    read = held.reshape(-1).view(torch.uint8).numpy()
    place = (tensor.dtype, tensor.shape, tensor.stride(), tensor.device)
    return (*place, tensor.requires_grad, hashlib.sha256(read.data).digest())
