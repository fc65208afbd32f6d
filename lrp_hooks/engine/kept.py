"""Copies what a backward pass will read before the model overwrites it.

A rule keeps an input, the ledger keeps a constant, and neither costs any memory as
long as the model leaves them alone. A scope says before each write what is overwritten.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from .storage import storage_address

__all__ = [
    "Kept",
    "before_write",
    "keep_saved",
    "listen",
    "read_saved",
    "saved_unseen",
]


class _Memory(threading.local):
    def __init__(self) -> None:
        self.scopes = 0
        self.holders: dict[int, list[tuple[weakref.ref[Any], Callable[..., None]]]] = {}


_memory = _Memory()
_saved_hooks = getattr(
    torch._C._autograd, "_top_saved_tensors_default_hooks", lambda _: None
)


def listen(scopes: int) -> None:
    """Listen while a scope is open in this thread, and then forget everything.

    Args:
        scopes: How many are open.
    """
    _memory.scopes = scopes
    if not scopes:
        _memory.holders.clear()


def before_write(tensor: Tensor) -> None:
    """Copy what is kept of a tensor's memory.

    Args:
        tensor: What is about to be overwritten, in whole or in part.
    """
    if not _memory.holders:
        return
    address = storage_address(tensor)
    if not address:
        return  # in no memory, as what was freed meanwhile
    for reference, copy in _memory.holders.pop(address, ()):
        holder = reference()
        if holder is not None:
            copy(holder, address)


class Kept:
    """Values that a backward pass will read, as they are now.

    Attributes:
        values: A tensor, or nested tuples, lists and mappings of anything.
    """

    def __init__(self, values: Any) -> None:
        """Keep values.

        Args:
            values: See `Kept`.
        """
        self.values = values
        tensors = (values,) if isinstance(values, Tensor) else _tensors(values)
        _note(self, tensors, Kept._copy)

    def _copy(self, address: int) -> None:
        self.values = _copied(self.values, address)


def keep_saved(ctx: Any, tensors: Iterable[Tensor]) -> None:
    """Look after what an autograd node has saved.

    Args:
        ctx: The context of a custom function.
        tensors: What it saved.
    """
    # Hooks on saved tensors, such as a checkpoint's, have not got them in memory.
    if _memory.scopes and _saved_hooks(False) is None:
        _note(ctx, tensors, _copy_saved)


def read_saved(ctx: Any) -> tuple[Tensor, ...]:
    """Return what an autograd node has saved, as it was then.

    Args:
        ctx: The context of a custom function.

    Returns:
        The tensors.
    """
    copied: tuple[Tensor, ...] | None = getattr(ctx, "copied", None)
    return ctx.saved_tensors if copied is None else copied


def saved_unseen() -> AbstractContextManager[None]:
    """Let functions save tensors that are looked at at once, and not kept.

    Returns:
        A context without the hooks on saved tensors that are in force, such as a
        checkpoint's, which would count them, or compute them again.
    """
    if _saved_hooks(True) is None:
        return nullcontext()
    # An output that is kept with its graph would never be freed.
    return saved_tensors_hooks(torch.Tensor.detach, torch.Tensor.detach)


def _copy_saved(ctx: Any, address: int) -> None:
    ctx.copied = tuple(_copied(t.detach(), address) for t in read_saved(ctx))


def _note(
    holder: Any, tensors: Iterable[Tensor], copy: Callable[[Any, int], None]
) -> None:
    if _memory.scopes:
        entry = (weakref.ref(holder), copy)
        for tensor in tensors:
            _memory.holders.setdefault(storage_address(tensor), []).append(entry)


def _tensors(value: Any) -> Generator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def _copied(value: Any, address: int) -> Any:
    if isinstance(value, Tensor):
        return value.clone() if storage_address(value) == address else value
    if isinstance(value, list | tuple):
        copies = [_copied(item, address) for item in value]
        return copies if isinstance(value, list) else tuple(copies)
    if isinstance(value, dict):
        return {key: _copied(item, address) for key, item in value.items()}
    return value
