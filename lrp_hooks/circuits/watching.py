"""Acting on what enters the sites of a model: watching, cutting, setting, ablating."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..engine.composite import is_composite, opened
from ..engine.nested import first_tensor, replace_first
from ..engine.subject import Subject
from ..engine.undo import Undo, undoing
from .experts import Rows, rows_of_experts
from .making import LINEAR, Slot, first_factor, slot_of
from .sites import EXPERTS, Site

__all__ = ["Act", "After", "acting"]

Act = Callable[[int, Tensor, Rows], Tensor | None]
"""From a site's number, its tensor [R, W] and whose its rows are to what goes on
instead, in the same shape; None where it stays."""

After = Callable[[int, Tensor], Tensor]


@contextmanager
def acting(
    subject: Subject,
    sites: Sequence[Site],
    act: Act,
    begin: Callable[[], None] = lambda: None,
    after: After | None = None,
) -> Generator[None]:
    """Act on what enters sites, in this thread, whenever the model runs.

    Args:
        subject: The model.
        sites: Where.
        act: What to do there.
        begin: Called when the model begins to run.
        after: Called with a site's number and what its layer returned, where that is a
            module; returns what goes on instead.

    Yields:
        Nothing; all is as it was in the end.
    """
    modules: dict[str, dict[int, int]] = {}
    inside = {site.module for site in sites if site.inside}
    for number, site in enumerate(sites):
        modules.setdefault(site.module, {})[site.call] = number
    actor = _Actor(sites, act, begin)
    with undoing() as undo:
        undo.hook(subject.model, "forward_pre_hook", actor.begin, with_kwargs=True)
        for name, numbers in modules.items():
            module = subject.module("module", name)
            if name in inside:
                actor.look_inside(module, numbers, undo)
            else:
                before = actor.before(numbers)
                undo.hook(module, "forward_pre_hook", before, with_kwargs=True)
                if after is not None:
                    behind = actor.after(numbers, after)
                    undo.hook(module, "forward_hook", behind)
        if inside:
            mode = _Inside(actor)
            mode.__enter__()  # type: ignore[no-untyped-call]
            undo.add(partial(mode.__exit__, None, None, None))
        yield


@dataclass
class _Opened:
    """A running module inside which functions are followed."""

    number: int | None
    wanted: Mapping[Slot, tuple[int | None, Rows | None]]
    counts: dict[Any, int] = field(default_factory=dict)


class _Actor:
    """What the hooks of one `acting` share."""

    def __init__(
        self, sites: Sequence[Site], act: Act, begin: Callable[[], None]
    ) -> None:
        self.sites, self.act, self.begins = sites, act, begin
        self.batch = 1
        self.thread = threading.get_ident()
        self.calls: dict[int, int] = {}
        self.opened: list[_Opened] = []

    def begin(self, model: nn.Module, args: Any, kwargs: Any) -> None:
        """Count the calls of modules anew when the model runs."""
        if threading.get_ident() != self.thread:
            return
        given = first_tensor((args, kwargs), lambda tensor: tensor.ndim > 0)
        self.batch = 1 if given is None else len(given)
        self.calls.clear()
        self.opened.clear()
        self.begins()

    def number(self, module: nn.Module, numbers: Mapping[int, int]) -> int | None:
        """Return the site of a module's call that begins."""
        if threading.get_ident() != self.thread:
            return None
        call = self.calls.get(id(module), 0)
        self.calls[id(module)] = call + 1
        return numbers.get(call)

    def before(self, numbers: Mapping[int, int]) -> Callable[..., Any]:
        """Return the hook before a linear layer."""

        def hook(module: nn.Module, args: Any, kwargs: Any) -> Any:
            number = self.number(module, numbers)
            value = first_tensor((args, kwargs), torch.Tensor.is_floating_point)
            if number is None or value is None:
                return None
            fresh = self.acted(number, value, None)
            return (
                None if fresh is None else replace_first((args, kwargs), value, fresh)
            )

        return hook

    def after(self, numbers: Mapping[int, int], act: After) -> Callable[..., Any]:
        """Return the hook behind a linear layer."""

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            if threading.get_ident() != self.thread:
                return None
            number = numbers.get(self.calls[id(module)] - 1)
            value = first_tensor(output, torch.Tensor.is_floating_point)
            if number is None or value is None:
                return None
            return replace_first(output, value, act(number, value))

        return hook

    def look_inside(
        self, module: nn.Module, numbers: Mapping[int, int], undo: Undo
    ) -> None:
        """Follow the linear functions that a module calls."""

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            number = self.number(module, numbers)
            wanted: dict[Slot, tuple[int | None, Rows | None]] = {}
            if number is not None:
                site = self.sites[number]
                if site.inside == EXPERTS:
                    wanted = dict(rows_of_experts(module, args, kwargs))
                elif site.inside is not None:
                    wanted = {site.inside: (None, None)}
            self.opened.append(_Opened(number, wanted))

        def after(*_: object) -> None:
            if self.opened and threading.get_ident() == self.thread:
                self.opened.pop()

        undo.hook(module, "forward_pre_hook", before, with_kwargs=True)
        undo.hook(module, "forward_hook", after, always_call=True)

    def called(self, func: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Act on the input of a linear function inside a module."""
        now = self.opened[-1]
        found = now.wanted.get(slot_of(func, args, now.counts))
        if found is None or now.number is None:
            return args
        place, rows = found
        if place is None:
            place = first_factor(func, args)
        fresh = self.acted(now.number, args[place], rows)
        if fresh is None:
            return args
        return (*args[:place], fresh, *args[place + 1 :])

    def acted(self, number: int, value: Tensor, rows: Rows | None) -> Tensor | None:
        """Act on a tensor in rows, [R, W]."""
        if rows is None:
            count = value.numel() // value.shape[-1]
            row = torch.arange(count, device=value.device)
            turned = value.ndim == 3 and value.shape[1] == self.batch != len(value)
            per_example = max(1, count // self.batch)
            position = row // self.batch if turned else row % per_example
            rows = Rows(position, torch.zeros_like(row), per_example)
        else:
            per_example = max(1, rows.count // self.batch)
            rows = Rows(rows.position % per_example, rows.expert, per_example)
        count = len(rows.position)
        width = value.numel() // count if count else value.shape[-1]
        flat = value.reshape(count, width)
        fresh = self.act(number, flat, rows)
        return None if fresh is None else fresh.reshape(value.shape)


class _Inside(TorchFunctionMode):
    """Sees the functions inside modules, after rules have had their say."""

    def __init__(self, actor: _Actor) -> None:
        super().__init__()
        self.actor = actor
        self.opening: list[Any] = []

    def __torch_function__(  # noqa: PLW3201
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if not self.actor.opened:
            return func(*args, **(kwargs or {}))
        if is_composite(func) and func not in self.opening:
            self.opening.append(func)
            try:
                with self:
                    return opened(func)(*args, **(kwargs or {}))
            finally:
                self.opening.pop()
        if func in LINEAR:
            args = self.actor.called(func, args)
        return func(*args, **(kwargs or {}))
