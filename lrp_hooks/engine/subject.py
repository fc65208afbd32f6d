"""The model that is explained, with what is looked up in it again and again."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any

from torch import nn

from ..errors import ArgumentError
from ..support.suggest import did_you_mean
from .wrappers import named_modules

__all__ = ["Subject"]


class Subject:
    """A model and its modules by name.

    Attributes:
        model: The model.
        modules: ``{qualified name: module}``.
        apart: What was read and explained where no example was found to depend on
            another one.
    """

    def __init__(self, model: nn.Module) -> None:
        """List the model's modules.

        Args:
            model: The model.
        """
        self.model = model
        self.apart: set[Any] = set()
        self.modules: dict[str, nn.Module] = dict(named_modules(model))
        self._signature: tuple[Any, inspect.Signature | None] = (None, None)

    def module(self, argument: str, name: object) -> nn.Module:
        """Find a module by its qualified name.

        Args:
            argument: The argument that named it, for the message.
            name: The name.

        Returns:
            The module.

        Raises:
            ArgumentError: If there is none of that name.
        """
        if isinstance(name, str) and name in self.modules:
            return self.modules[name]
        known = [*self.modules, *(("heads", "blocks") if argument == "layers" else ())]
        raise ArgumentError(
            f"{argument}={name!r} is the name of no module of the model; "
            f"model.named_modules() lists them.{did_you_mean(name, known, n=3)}"
        )

    @property
    def signature(self) -> inspect.Signature | None:
        """What the model's forward takes; None where it does not say."""
        forward = self.model.forward
        if self._signature[0] is not forward:  # looked up once while it stays the same
            self._signature = forward, _signature_of(forward)
        return self._signature[1]

    @cached_property
    def input_embedding(self) -> nn.Module | None:
        """The module that the model itself names as its input embedding."""
        get = getattr(self.model, "get_input_embeddings", None)
        try:
            own = get() if get is not None else None
        except (NotImplementedError, AttributeError):  # a model without such a module
            return None
        if isinstance(own, nn.ModuleList | nn.ModuleDict):
            return None  # many tables, one a codebook, and the list is never called
        return own if isinstance(own, nn.Module) else None

    @cached_property
    def embeddings(self) -> dict[str, nn.Module]:
        """The modules that look up ids, the one that the model names itself first."""
        kinds = (nn.Embedding, nn.EmbeddingBag)
        found: dict[str, nn.Module] = {
            n: m for n, m in self.modules.items() if isinstance(m, kinds)
        }
        own = self.input_embedding
        if own is None:
            return found
        named = {n: m for n, m in self.modules.items() if m is own}
        inside = {id(m) for m in own.modules()}  # of an adapter around a table
        return {**named, **{n: m for n, m in found.items() if id(m) not in inside}}

    @cached_property
    def n_positions(self) -> int | None:
        """How many positions the model has a table for, if its config says so."""
        limit = getattr(
            getattr(self.model, "config", None), "max_position_embeddings", None
        )
        if not isinstance(limit, int):
            return None
        rows = {getattr(m, "num_embeddings", None) for m in self.embeddings.values()}
        return limit if rows & {limit, limit + 1, limit + 2} else None


def _signature_of(forward: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(forward)
    except (TypeError, ValueError):  # builtins have no signature
        return None
