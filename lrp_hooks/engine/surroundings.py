"""What every scope of one instrumented model shares: names, tables, who is running."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn

from .rule import FunctionTable
from .sources import SourceCollector
from .storage import storage_address
from .wrappers import named_modules, plain_name

__all__ = ["Frame", "State", "Surroundings", "storage_address"]


class Frame(NamedTuple):
    """A module that is running.

    Attributes:
        module: The module.
        name: Its qualified name.
        functions: Its own function table, laid over those of the modules around it.
        leaf: Whether a `LeafRule` stands for everything inside.
        fused: Whether it has a fused kernel that it does not take in a scope.
    """

    module: Any
    name: str
    functions: FunctionTable
    leaf: bool
    fused: bool = False


@dataclass
class State:
    """What changes while a model is instrumented; its threads share it.

    Attributes:
        removed: Whether the rules were taken off.
        differentiates: Whether the model was found to ask for gradients in its forward.
        lends: What another thread may join: a collector, and the leaves of its graph.
        told: Whether something without a rule was reported.
    """

    removed: bool = False
    differentiates: bool = False
    lends: tuple[SourceCollector, dict[str, Tensor]] | None = None
    told: bool = False


@dataclass(frozen=True)
class Surroundings:
    """What every scope of one instrumented model shares.

    Attributes:
        table: The function table of the rule set.
        constants: ``{id: (weak reference, name)}`` of parameters, which carry no
            relevance. The reference tells a parameter from a later object with its id.
        suspects: The types of arguments that are, or may hold, parameters.
        holders: Where the model's modules keep their parameters, each with the prefix
            of its names.
        storages: ``{storage address: name}`` of parameters and buffers.
        trainable: The storage addresses of parameters that require a gradient.
        report: Called as ``report(function, module name)`` for a function without rule.
        state: What changes meanwhile.
    """

    table: FunctionTable
    constants: dict[int, tuple[weakref.ref[Tensor], str]]
    suspects: set[type]
    holders: list[tuple[str, dict[str, Any]]]
    storages: dict[int, str]
    trainable: set[int]
    report: Callable[[Callable[..., Any] | str, str], None]
    state: State = field(default_factory=State)

    def name_of(self, tensor: Tensor) -> str | None:
        """Name a parameter that the model had when it was instrumented.

        Args:
            tensor: Any tensor.

        Returns:
            The qualified name, or None.
        """
        reference, name = self.constants.get(id(tensor), (None, None))
        return name if reference is not None and reference() is tensor else None

    def swapped(self) -> dict[int, str]:
        """Name what stands in a parameter's place for this call.

        Returns:
            ``{id: name}`` of tensors that were put into modules after the model was
            instrumented, as ``torch.func.functional_call`` does.
        """
        return {
            id(value): f"{prefix}{name}"
            for prefix, holder in self.holders
            for name, value in holder.items()
            if id(value) not in self.constants and value is not None
        }

    @classmethod
    def of(
        cls,
        model: nn.Module,
        table: FunctionTable,
        report: Callable[[Callable[..., Any] | str, str], None],
    ) -> Surroundings:
        """Look up a model's parameters and buffers.

        Args:
            model: The model.
            table: The function table of the rule set.
            report: See `Surroundings`.

        Returns:
            The surroundings.
        """
        parameters = [(plain_name(n), p) for n, p in model.named_parameters()]
        constants, storages = _named(model, parameters)
        kinds: set[type] = {type(p) for _, p in parameters}
        suspects = kinds | {list, tuple, nn.Parameter}
        holders = [
            (f"{prefix}." if prefix else "", module._parameters)
            for prefix, module in named_modules(model)
            if module._parameters
        ]
        trained = {storage_address(p) for _, p in parameters if p.requires_grad}
        return cls(table, constants, suspects, holders, storages, trained, report)


def _named(
    model: nn.Module, parameters: list[tuple[str, nn.Parameter]]
) -> tuple[dict[int, tuple[weakref.ref[Tensor], str]], dict[int, str]]:
    """Name parameters by identity, and parameters and buffers by storage."""
    constants: dict[int, tuple[weakref.ref[Tensor], str]] = {
        id(p): (weakref.ref(p), name) for name, p in parameters
    }
    storages: dict[int, str] = {}
    tensors: list[tuple[str, Tensor]] = []
    for prefix, module in named_modules(model):
        attributes = [(k, v) for k, v in vars(module).items() if isinstance(v, Tensor)]
        dot = f"{prefix}." if prefix else ""
        tensors += [(dot + key, value) for key, value in attributes]
    buffers = [(plain_name(name), buffer) for name, buffer in model.named_buffers()]
    for name, tensor in [*tensors, *buffers, *parameters]:
        storages[storage_address(tensor)] = name
    storages.pop(0, None)
    return constants, storages
