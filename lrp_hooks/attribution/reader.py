"""Where relevance is read: leaves put into a forward pass, and layers watched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.constants import name_of_rows
from ..engine.nested import first_tensor, replace_first
from ..engine.sharding import gathered, is_spread, placed_as, seen_whole
from ..engine.storage import is_distributed
from ..engine.subject import Subject
from ..engine.undo import undoing
from .bags import by_row
from .call import Call
from .lookups import (
    are_the_same,
    ids_given,
    not_looked_up,
    nowhere,
    same_storage,
    tell_of_two,
    unread,
)
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
        self.chosen = self.names is not None
        if not self.chosen and len(call.content) > len(call.floats) > 0:
            self.names = call.content
        named = [name for name in self.names or () if name in call.tensors]
        twice = [n for n in named if self.chosen and n in subject.modules]
        tell_of_two(twice)
        self.inputs = {n: call.tensors[n] for n in named if n not in twice}
        self.modules = {
            name: subject.module("wrt", name)
            for name in self.names or ()
            if name not in self.inputs
        }
        if self.names is not None:
            # Each in memory of its own, by which a lookup tells which one it is of.
            own = {name: value.clone() for name, value in self.inputs.items()}
            floats = {name: value for name, value in own.items() if is_plain(value)}
            self.call = replace(call.with_tensors(own), floats=floats)
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
                raise unread("layers", name)

    def _named(self, names: Sequence[str], given: Mapping[str, Tensor]) -> Any:
        """Read the outputs of named modules, and named inputs."""
        tables = self.subject.embeddings if self.ids else {}
        modules = {**tables, **self.modules}
        accepts = [self._reads_named]
        if not self.chosen and self._is_lenient:
            accepts += [self._reads_as_many, self._reads_first]
        for accept in accepts:
            output = self._with_hooks(modules, accept, given)
            if self.ids.keys() <= self.reads.keys():
                break
        missing = [name for name in names if name not in self.reads]
        if self.chosen and missing:
            name = missing[0]
            raise not_looked_up(name) if name in self.ids else unread("wrt", name)
        if any(self.call.tensors[name] is self.call.main for name in missing):
            raise nowhere(self.call.main)
        self.reads = {n: self.reads[n] for n in names if n in self.reads}
        return output

    def _ids_of(self, call: Call) -> dict[str, Tensor]:
        """Return the named inputs of a call that embeddings look up."""
        return {n: call.tensors[n] for n in self.inputs if n not in self.call.floats}

    def _embedded(self) -> Any:
        """Read the first embedding that looks up the ids themselves."""
        tables = self.subject.embeddings
        for accept in (self._reads_ids, self._reads_as_many, self._reads_first):
            output = self._with_hooks(tables, accept)
            if self.reads:
                return output
        raise nowhere(self.call.main)

    def _with_hooks(
        self,
        modules: dict[str, nn.Module],
        read: Callable[..., Any] | None,
        given: Mapping[str, Tensor] | None = None,
    ) -> Any:
        """Run the model on copies of its inputs, once more if need be."""
        call = self.call.fresh()
        self.main, self.ids = call.main, self._ids_of(call)
        _name_inputs(call)
        if given is not None:
            call = call.with_tensors(given)
        with undoing() as undo:
            for name, module in self._tables().items():
                undo.hook(module, "forward_hook", partial(_name_rows, name))
            for name, module in modules.items():
                if isinstance(name, InputOf):
                    before = self._before(name)
                    undo.hook(module, "forward_pre_hook", before, with_kwargs=True)
                else:
                    hook = self._hook(name, by_row(module, read))
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
        ids = ids_given(given)
        wanted = [n for n in self.ids if n not in self.reads]
        if ids is None or not wanted:
            return None
        # Two inputs may be equal: which one is looked up, its memory tells best.
        for alike in (same_storage, are_the_same):
            for each in wanted:
                if alike(ids, self.ids[each]):
                    return self._reads_module(each, given, value)
        # Some models put another id in place of those that stand for an image.
        if self._is_lenient and self._is_own(name):
            return self._reads_as_many(name, given, value)
        return None

    def _reads_ids(self, name: str, given: Any, value: Tensor) -> Tensor | None:
        if self.reads:
            return None
        ids = ids_given(given)
        ours = ids is not None and (
            same_storage(ids, self.main) or are_the_same(ids, self.main)
        )
        return self._reads_main(name, given, value) if ours else None

    def _reads_as_many(self, name: str, given: Any, value: Tensor) -> Tensor | None:
        ids = ids_given(given)
        ours = ids is not None and ids.numel() == self.wanted.numel()
        return self._reads_main(name, given, value) if ours else None

    def _reads_first(self, name: str, given: Any, value: Tensor) -> Tensor | None:
        return self._reads_main(name, given, value) if self._is_own(name) else None

    @property
    def _is_lenient(self) -> bool:
        """Whether the main input is the only one that is looked up."""
        (*others, name) = self.ids or [""]
        return not others and self.call.tensors.get(name) is self.call.main

    def _is_own(self, name: str) -> bool:
        """Tell the table that the model itself names as that of its inputs."""
        return self.subject.modules[name] is self.subject.input_embedding

    @property
    def wanted(self) -> Tensor:
        """The ids that are read by default, where nothing else tells them."""
        return next(iter(self.ids.values()), self.main)

    def _reads_main(self, name: str, given: Any, value: Tensor) -> Tensor | None:
        taken = self.reads.keys() & self.ids if self.ids else self.reads
        name = next(iter(self.ids), name)
        return None if taken else self._reads_module(name, given, value)

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


def _name_inputs(call: Call) -> None:
    """Name what the model is given, which is a constant where it is not read."""
    for name, tensor in call.tensors.items():
        tensor._lrp_name = name  # type: ignore[attr-defined]


def _name_rows(name: str, module: nn.Module, args: Any, rows: Any) -> None:
    """Name what was looked up, which is a constant where nothing is read there."""
    if isinstance(rows, Tensor) and not rows.requires_grad:
        table = f"{name}.weight" if name else "weight"
        rows._lrp_name = name_of_rows(ids_given(args), table)  # type: ignore[attr-defined]
