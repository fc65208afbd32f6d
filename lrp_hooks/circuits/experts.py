"""Which token and which expert each row of a mixture of experts belongs to.

Experts that share one module hold their weights in three dimensions and call functions
on rows sorted or gathered in their own way. The module runs once more on numbers: token
n is n in every column, and expert e's weights are e; what its functions are then given
tells whose a row is, whatever the implementation.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..engine.functions import spellings
from ..engine.nested import first_tensor, replace_first
from ..engine.stack import aside
from ..engine.undo import undoing
from .making import ACTIVE, Maker, Slot, slot_of

__all__ = ["Rows", "Taken", "rows_of_experts"]

_GROUPED = frozenset(spellings("_grouped_mm"))


@dataclass(frozen=True, eq=False)
class Rows:
    """Whose the rows of a site's tensor are.

    Attributes:
        position: The position of each row, [R].
        expert: Its expert, [R]; 0 where there are none.
        count: How many positions there are.
    """

    position: Tensor
    expert: Tensor
    count: int

    @staticmethod
    def joined(parts: list[Rows]) -> Rows:
        """Put rows of several calls below each other."""
        position = torch.cat([part.position for part in parts])
        expert = torch.cat([part.expert for part in parts])
        return Rows(position, expert, parts[0].count)


class Taken(NamedTuple):
    """The input of a linear function: which argument it is, and whose its rows are."""

    place: int
    rows: Rows


def rows_of_experts(module: nn.Module, args: Any, kwargs: Any) -> dict[Slot, Taken]:
    """Find whose rows the second linear functions of experts are given.

    Args:
        module: The experts.
        args: What they are called with.
        kwargs: The same by keyword.

    Returns:
        ``{linear function: Taken}``.
    """
    with undoing() as undo, torch.no_grad():
        aside(undo)
        given = first_tensor((args, kwargs), torch.Tensor.is_floating_point)
        assert given is not None
        numbers = _Numbers(given.numel() // given.shape[-1])
        tokens = torch.arange(numbers.count, device=given.device)
        dtype = torch.promote_types(given.dtype, torch.float32)
        counted = tokens.to(dtype).view(*given.shape[:-1], 1).expand(given.shape)
        args, kwargs = replace_first((args, kwargs), given, counted.contiguous())
        with _Numbered(numbers.take):
            type(module).forward(_numbered(module, dtype), *args, **kwargs)
    return numbers.taken


def _numbered(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Copy a module with the number of each expert in place of its weights."""
    twin = copy.copy(module)
    twin.__dict__ = {
        k: v for k, v in module.__dict__.items() if k not in {"forward", "_call_impl"}
    }
    twin.__dict__["_parameters"] = {
        name: None if p is None else _number(p, dtype)
        for name, p in module._parameters.items()
    }
    return twin


def _number(parameter: nn.Parameter, dtype: torch.dtype) -> nn.Parameter:
    count = torch.arange(len(parameter), device=parameter.device)
    if parameter.ndim < 3:
        count = torch.zeros_like(count)
    shape = [-1, *[1] * (parameter.ndim - 1)]
    values = count.to(dtype).view(shape).expand(parameter.shape)
    return nn.Parameter(values.contiguous(), requires_grad=False)


class _Numbered(Maker):
    """Runs on numbers; a grouped product, which is particular, need not be right."""

    def call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a function."""
        if func in _GROUPED:
            return args[0].new_zeros(len(args[0]), args[1].shape[-1])
        return func(*args, **kwargs)


class _Numbers:
    """Reads rows off what linear functions are given."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken: dict[Slot, Taken] = {}
        self.tokens: Tensor | None = None
        self.calls: dict[Any, int] = {}

    def take(self, made: Any, places: Any, func: Any, args: Any, kwargs: Any) -> None:
        """Read the tokens of a first layer, the experts of a second one."""
        slot, x = slot_of(func, args, self.calls), args[places[0]]
        if made.how != ACTIVE:
            gathered = args[places[1]].ndim > 2 and "offs" not in kwargs
            rows = len(x) if gathered else x.numel() // x.shape[-1]
            self.tokens = x.reshape(rows, -1)[:, 0].round().long()
            return
        assert self.tokens is not None
        experts = _experts(len(self.tokens), args[places[1]], kwargs.get("offs"))
        self.taken[slot] = Taken(places[0], Rows(self.tokens, experts, self.count))


def _experts(count: int, weight: Tensor, ends: Tensor | None) -> Tensor:
    """Return the expert of each of R rows."""
    if ends is not None:
        rows = torch.arange(count, device=weight.device)
        return torch.searchsorted(ends.long(), rows, right=True)
    if weight.ndim == 2:
        return weight[0, :1].expand(count).round().long()
    return weight[:, 0, 0].round().long()
