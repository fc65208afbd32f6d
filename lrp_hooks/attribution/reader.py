"""Where relevance is read: leaves put into a forward pass, and layers watched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.nested import first_tensor, replace_first
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
        self.thread = threading.get_ident()
        self.outputs: list[Tensor | None] = []
        self.main = call.main
        self.layers = {name: subject.module("layers", name) for name in layers}
        names = [wrt] if isinstance(wrt, str) else wrt
        self.ids: str | None = None
        self.modules = None
        if names is not None and not self._reads_inputs(names):
            self.modules = {n: subject.module("wrt", n) for n in names}

    def forward(self) -> Any:
        """Run the model with the leaves in place.

        Returns:
            Its output.
        """
        if self.modules is not None:
            return self._after_modules(self.modules)
        for name, value in self.call.floats.items():
            self.reads[name] = self._leaf(value)
        if self.call.floats and self.ids is None:
            return self._with_hooks({}, None, self._given())
        return self._embedded()

    def _given(self) -> dict[str, Tensor]:
        """Return what float inputs are replaced by."""
        return {
            name: self._handed(self.reads[name], value)
            for name, value in self.call.floats.items()
        }

    def _reads_inputs(self, names: Sequence[str]) -> bool:
        """Tell whether inputs are to be read, not modules, and note which."""
        inputs = self.call.kwargs
        alone = [n for n in names if n in inputs and n not in self.subject.modules]
        if not alone or len(alone) < len(names):
            return False
        ids = [n for n in names if inputs[n] is self.call.main]
        floats = {n: inputs[n] for n in names}
        if not self.call.main.is_floating_point() and ids:
            self.ids = ids[0]
            del floats[self.ids]
        wrong = [n for n, value in floats.items() if not is_plain(value)]
        if wrong:
            raise ArgumentError(
                f"wrt={wrong[0]!r} names an input that is no float tensor and not the "
                "token ids; name one of these, or a module."
            )
        self.call = replace(self.call, floats=floats)
        return True

    def check_layers(self) -> None:
        """Refuse layers that did not run."""
        for name in self.layers:
            if name not in self.seen:
                raise _unread("layers", name)

    def _after_modules(self, modules: dict[str, nn.Module]) -> Any:
        """Read the outputs of named modules."""
        output = self._with_hooks(modules, self._reads_module)
        missing = [name for name in modules if name not in self.reads]
        if missing:
            raise _unread("wrt", missing[0])
        return output

    def _embedded(self) -> Any:
        """Read the first embedding that looks up the ids themselves."""
        tables = self.subject.embeddings
        for accept in (self._reads_ids, self._reads_as_many, self._reads_first):
            output = self._with_hooks(tables, accept, self._given())
            if not self._awaits_ids:
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
        self.main = call.main
        if given:
            call = call.with_floats(given)
        with undoing() as undo:
            for name, module in modules.items():
                if isinstance(name, InputOf):
                    before = self._before(name)
                    undo.hook(module, "forward_pre_hook", before, with_kwargs=True)
                else:
                    hook = self._hook(name, read)
                    undo.hook(module, "forward_hook", hook, with_kwargs=True)
            for name, module in self.layers.items():
                hook = self._hook(name, self._watches)
                undo.hook(module, "forward_hook", hook, with_kwargs=True)
            output = self.subject.model(*call.args, **call.kwargs)
        result = first_tensor(output, torch.Tensor.is_floating_point)
        self.outputs.append(None if result is None else result.detach())
        return output

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
        self.reads[name] = self._leaf(value)
        return self._handed(self.reads[name], value)

    def _reads_ids(self, name: str, given: Any, value: Tensor) -> Tensor | None:
        ids = first_tensor(given)
        ours = ids is not None and (
            same_storage(ids, self.main) or self._are_the_same(ids)
        )
        return self._reads_table(name, given, value) if ours else None

    @property
    def _awaits_ids(self) -> bool:
        """Whether no table was read yet, beside float inputs."""
        return len(self.reads) == len(self.call.floats)

    def _reads_table(self, name: str, given: Any, value: Tensor) -> Tensor | None:
        if not self._awaits_ids:
            return None
        return self._reads_module(self.ids or name, given, value)

    def _are_the_same(self, ids: Tensor) -> bool:
        """Tell a copy of the ids from what counts positions or types."""
        main = self.call.main
        if ids.numel() != main.numel() or self._count:
            return False
        return bool((ids.flatten() == main.to(ids.device).flatten()).all())

    @cached_property
    def _count(self) -> bool:
        """Whether the ids could as well be numbers of positions or types."""
        main = self.call.main
        return bool(main.max() <= 1) or bool((main.diff(dim=-1) == 1).all())

    def _reads_as_many(self, name: str, given: Any, value: Tensor) -> Tensor | None:
        ids = first_tensor(given)
        ours = ids is not None and ids.numel() == self.call.main.numel()
        return self._reads_table(name, given, value) if ours else None

    def _reads_first(self, name: str, given: Any, value: Tensor) -> Tensor | None:
        ours = self.subject.modules[name] is self.subject.input_embedding
        return self._reads_table(name, given, value) if ours else None

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
        self.seen[name] = value.clone()
        return self.seen[name].clone()  # which a model may overwrite


def _unread(argument: str, name: str) -> ArgumentError:
    return ArgumentError(
        f"{argument}={name!r} names a module that did not run, or returned no float "
        "tensor, in this call; name one that does."
    )
