"""What every scope of one instrumented model shares: names, tables, who is running."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn

from .rule import FunctionTable
from .sources import SourceCollector
from .storage import storage_address
from .walk import named_modules_of
from .wrappers import plain_name

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
        owner: What put the hooks on, which lives as long as they do.
    """

    removed: bool = False
    differentiates: bool = False
    lends: tuple[SourceCollector, dict[str, Tensor]] | None = None
    told: bool = False
    owner: object = None


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
        unruled: Called as ``unruled(function, module name)`` for a function without a
            rule.
        state: What changes meanwhile.
    """

    table: FunctionTable
    constants: dict[int, tuple[weakref.ref[Tensor], str]]
    suspects: set[type]
    holders: list[tuple[str, dict[str, Any]]]
    storages: dict[int, str]
    trainable: set[int]
    unruled: Callable[[Callable[..., Any] | str, str], None]
    state: State = field(default_factory=State)

    def report(self, func: Callable[..., Any] | str, module: str) -> None:
        """Report a function without a rule.

        Args:
            func: The function.
            module: The name of the module that called it.
        """
        self.state.told = True
        self.unruled(func, module)

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
        unruled: Callable[[Callable[..., Any] | str, str], None],
    ) -> Surroundings:
        """Look up a model's parameters and buffers.

        Args:
            model: The model.
            table: The function table of the rule set.
            unruled: See `Surroundings`.

        Returns:
            The surroundings.
        """
        modules = [(plain_name(name), m) for name, m in named_modules_of(model)]
        holders = [(f"{n}." if n else "", m._parameters) for n, m in modules]
        parameters = _held(holders)
        constants = {id(p): (weakref.ref(p), name) for name, p in parameters}
        kinds: set[type] = {type(p) for _, p in parameters}
        suspects = kinds | {list, tuple, nn.Parameter}
        storages, trained = _in_memory(modules, parameters)
        holders = [(prefix, held) for prefix, held in holders if held]
        return cls(table, constants, suspects, holders, storages, trained, unruled)


def _held(holders: Iterable[tuple[str, dict[str, Any]]]) -> list[tuple[str, Tensor]]:
    """List what modules hold, each tensor once, by its first name."""
    found: dict[int, tuple[str, Tensor]] = {}
    for prefix, held in holders:
        for name, tensor in held.items():
            if tensor is not None:
                found.setdefault(id(tensor), (prefix + name, tensor))
    return list(found.values())


def _in_memory(
    modules: list[tuple[str, nn.Module]], parameters: list[tuple[str, Tensor]]
) -> tuple[dict[int, str], set[int]]:
    """Name parameters and other tensors of modules by where they lie in memory.

    Args:
        modules: The modules by name.
        parameters: The parameters by name.

    Returns:
        ``{storage address: name}``, and the addresses of parameters that learn.
    """
    storages: dict[int, str] = {}
    for prefix, module in modules:
        dot = f"{prefix}." if prefix else ""
        own = vars(module)
        for name in [key for key in own if key not in _OF_EVERY_MODULE]:
            if isinstance(own[name], Tensor):
                storages[storage_address(own[name])] = dot + name
    buffers = _held((f"{n}." if n else "", m._buffers) for n, m in modules)
    for name, buffer in buffers:
        storages[storage_address(buffer)] = name
    trained = set()
    for name, parameter in parameters:
        address = storage_address(parameter)
        storages[address] = name
        if parameter.requires_grad:
            trained.add(address)
    storages.pop(0, None)
    return storages, trained


_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""What holds no tensor of a module's own, or holds those that have their table."""
