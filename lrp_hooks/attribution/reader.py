"""Where relevance is read: leaves put into a forward pass, and layers watched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.nested import first_tensor, replace_first
from ..engine.sharding import gathered, is_spread, placed_as, seen_whole
from ..engine.shares import whole
from ..engine.storage import is_distributed
from ..engine.subject import Subject
from ..engine.undo import undoing
from ..errors import ArgumentError
from .inputs import Call, same_storage
from .readable import is_plain

__all__ = ["InputOf", "Reader"]


class InputOf(str):
    """The name of a module whose first float input is read, not its output."""


class Reader:
    """Puts leaves where relevance is read, and watches the layers asked for."""

    def __init__(
        self,
        subject: Subject,
        call: Call,
        wrt: str | Sequence[str] | None,
        layers: Sequence[str],
    ) -> None:
        """Find the modules that are read and watched.

        Args:
            subject: The model.
            call: The call to make.
            wrt: See `Instrumentation.attribute`.
            layers: See `Instrumentation.attribute`.
        """
        self.subject = subject
        self.call = call
        self.reads: dict[str, Tensor] = {}
        self.seen: dict[str, Tensor] = {}
        self.spread = is_spread(subject.model)
        self.thread = threading.get_ident()
        self.outputs: list[Tensor | None] = []
        self.main = call.main
        self.layers = {name: subject.module("layers", name) for name in layers}
        self.names = [wrt] if isinstance(wrt, str) else wrt
        self.inputs = {
            name: call.kwargs[name]
            for name in self.names or ()
            if name not in subject.modules and isinstance(call.kwargs.get(name), Tensor)
        }
        self.modules = {
            name: subject.module("wrt", name)
            for name in self.names or ()
            if name not in self.inputs
        }
        if self.names is not None:
            # Each in memory of its own, by which a lookup tells which one it is of.
            own = {name: value.clone() for name, value in self.inputs.items()}
            floats = {name: value for name, value in own.items() if is_plain(value)}
            self.call = replace(call, kwargs={**call.kwargs, **own}, floats=floats)
        self.ids = self._ids_of(self.call)

    def forward(self) -> Any:
        """Run the model with the leaves in place.

        Returns:
            Its output.
        """
        if self.names is None and not self.call.floats:
            return self._embedded()
        for name, value in self.call.floats.items():
            self.reads[name] = self._put(name, value)
        given = {
            name: self._handed(self.reads[name], value)
            for name, value in self.call.floats.items()
        }
        if self.names is None:
            return self._with_hooks({}, None, given)
        return self._named(self.names, given)

    def check_layers(self) -> None:
        """Refuse layers that did not run."""
        for name in self.layers:
            if name not in self.seen:
                raise _unread("layers", name)

    def _named(self, names: Sequence[str], given: Mapping[str, Tensor]) -> Any:
        """Read the outputs of named modules, and named inputs."""
        tables = self.subject.embeddings if self.ids else {}
        output = self._with_hooks({**tables, **self.modules}, self._reads_named, given)
        for name in names:
            if name not in self.reads:
                raise _not_looked_up(name) if name in self.ids else _unread("wrt", name)
        self.reads = {name: self.reads[name] for name in names}
        return output

    def _ids_of(self, call: Call) -> dict[str, Tensor]:
        """Return the named inputs of a call that embeddings look up."""
        return {n: call.kwargs[n] for n in self.inputs if n not in self.call.floats}

    def _embedded(self) -> Any:
        """Read the first embedding that looks up the ids themselves."""
        tables = self.subject.embeddings
        for accept in (self._reads_ids, self._reads_as_many, self._reads_first):
            output = self._with_hooks(tables, accept)
            if self.reads:
                return output
        raise ArgumentError(
            f"inputs are {self.call.main.dtype}, but no embedding module of the model "
            "looks them up; pass floats, or name the module whose output to read with "
            "wrt=."
        )

    def _with_hooks(
        self,
        modules: dict[str, nn.Module],
        read: Callable[..., Any] | None,
        given: Mapping[str, Tensor] | None = None,
    ) -> Any:
        """Run the model on copies of its inputs, once more if need be."""
        call = self.call.fresh()
        self.main, self.ids = call.main, self._ids_of(call)
        if given is not None:
            call = call.with_floats(given)
        with undoing() as undo:
            for name, module in self._tables().items():
                undo.hook(module, "forward_hook", partial(_name_rows, name))
            for name, module in modules.items():
                if isinstance(name, InputOf):
                    before = self._before(name)
                    undo.hook(module, "forward_pre_hook", before, with_kwargs=True)
                else:
                    hook = self._hook(name, read)
                    # Of a spread value hooks of torch's own leave one rank's share.
                    spread = any(map(is_distributed, module.parameters(recurse=False)))
                    options = {"with_kwargs": True, "prepend": spread}
                    undo.hook(module, "forward_hook", hook, **options)
            for name, module in self.layers.items():
                hook = self._hook(name, self._watches)
                undo.hook(module, "forward_hook", hook, with_kwargs=True)
            output = self.subject.model(*call.args, **call.kwargs)
        result = first_tensor(output, torch.Tensor.is_floating_point)
        self.outputs.append(None if result is None else result.detach())
        return output

    def _tables(self) -> dict[str, nn.Module]:
        """Return the tables whose rows other hooks of theirs put together."""
        return self.subject.embeddings if self.spread else {}

    def _hook(self, name: str, act: Callable[..., Any] | None) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            value = first_tensor(output, torch.Tensor.is_floating_point)
            if act is None or value is None or threading.get_ident() != self.thread:
                return None
            fresh = act(name, (args, kwargs), value)
            return None if fresh is None else replace_first(output, value, fresh)

        return hook

    def _before(self, name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> Any:
            value = first_tensor((args, kwargs), torch.Tensor.is_floating_point)
            if value is None or threading.get_ident() != self.thread:
                return None
            fresh = self._reads_module(name, (args, kwargs), value)
            given = (args, kwargs)
            return None if fresh is None else replace_first(given, value, fresh)

        return hook

    def _reads_module(self, name: str, given: Any, value: Tensor) -> Tensor | None:
        if name in self.reads:
            return None
        # A clone is handed on, since a model may overwrite it and a leaf must stay.
        every = gathered(value) if self.spread else value
        self.reads[name] = self._put(name, every)
        handed = self._handed(self.reads[name], every)
        return placed_as(handed, value) if self.spread else handed

    def _reads_named(self, name: str, given: Any, value: Tensor) -> Tensor | None:
        if name in self.modules:
            return self._reads_module(name, given, value)
        ids = _ids(given)
        wanted = [n for n in self.ids if n not in self.reads]
        if ids is None or not wanted:
            return None
        # Two inputs may be equal: which one is looked up, its memory tells best.
        for alike in (same_storage, _are_the_same):
            for each in wanted:
                if alike(ids, self.ids[each]):
                    return self._reads_module(each, given, value)
        return None

    def _reads_ids(self, name: str, given: Any, value: Tensor) -> Tensor | None:
        if self.reads:
            return None
        ids = _ids(given)
        ours = ids is not None and (
            same_storage(ids, self.main) or _are_the_same(ids, self.main)
        )
        return self._reads_module(name, given, value) if ours else None

    def _reads_as_many(self, name: str, given: Any, value: Tensor) -> Tensor | None:
        ids = _ids(given)
        ours = ids is not None and ids.numel() == self.call.main.numel()
        return (
            self._reads_module(name, given, value) if ours and not self.reads else None
        )

    def _reads_first(self, name: str, given: Any, value: Tensor) -> Tensor | None:
        ours = self.subject.modules[name] is self.subject.input_embedding
        return (
            self._reads_module(name, given, value) if ours and not self.reads else None
        )

    def _put(self, name: str, value: Tensor) -> Tensor:
        """Return what stands in the place of a value that is read."""
        return self._leaf(value)

    def _leaf(self, value: Tensor) -> Tensor:
        first = value.detach().movedim(self.call.axis(value), 0)
        if self._folds(value):
            first = first.reshape(*self.call.main.shape[:2], *first.shape[1:])
        leaf = first.clone()
        leaf.requires_grad = True  # not requires_grad_, which scopes leave as it is
        return leaf

    def _handed(self, leaf: Tensor, value: Tensor) -> Tensor:
        if self._folds(value):
            leaf = leaf.flatten(0, 1)
        return leaf.movedim(0, self.call.axis(value)).clone()

    def _folds(self, value: Tensor) -> bool:
        """Tell whether choices, [B, C, T], are rows of one batch for the model."""
        shape = self.call.main.shape
        return self.call.has_choices and value.shape[:2] == (
            shape[0] * shape[1],
            shape[2],
        )

    def _watches(self, name: str, given: Any, value: Tensor) -> Tensor:
        if self.spread:
            self.seen[name], handed = seen_whole(value)
            return handed
        self.seen[name] = value.clone()
        return self.seen[name].clone()  # which a model may overwrite


def _name_rows(name: str, module: nn.Module, args: Any, rows: Any) -> None:
    """Name what was looked up, which is a constant where nothing is read there."""
    if isinstance(rows, Tensor) and not rows.requires_grad:
        rows._lrp_name = f"{name}.weight" if name else "weight"  # type: ignore[attr-defined]


def _ids(given: Any) -> Tensor | None:
    """Return the ids that a table is given, all of them."""
    ids = first_tensor(given)
    return None if ids is None else whole(ids)


def _are_the_same(ids: Tensor, given: Tensor) -> bool:
    """Tell a copy of the ids from what counts positions or types."""
    if ids.numel() != given.numel() or _may_count(given):
        return False
    return bool((ids.flatten() == given.to(ids.device).flatten()).all())


def _may_count(ids: Tensor) -> bool:
    """Tell whether ids could as well be numbers of positions or types."""
    return bool(ids.max() <= 1) or bool((ids.diff(dim=-1) == 1).all())


def _not_looked_up(name: str) -> ArgumentError:
    return ArgumentError(
        f"wrt={name!r} names an input that no embedding module of the model looks up "
        "in this call; name one of token ids, or the module whose output to read."
    )


def _unread(argument: str, name: str) -> ArgumentError:
    return ArgumentError(
        f"{argument}={name!r} names a module that did not run, or returned no float "
        "tensor, in this call; name one that does."
    )
