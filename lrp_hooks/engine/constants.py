"""Which arguments are the model's parameters, under whatever name and in whose place.

A constant is what does not depend on what is read: a weight that requires a gradient
is none the less no factor to share relevance with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor

from .autograd import carries
from .surroundings import Frame, Surroundings, storage_address
from .wrappers import plain_name

__all__ = ["Constants", "name_of_rows"]

_MOVES = {"view", "reshape", "contiguous", "flatten", "squeeze", "unsqueeze", "long"}
"""What leaves token ids what they are."""
_JOINS = {"cat", "concat", "stack", "expand", "repeat", "__getitem__", "to", "clone"}


class Constants:
    """Tells parameters from what carries relevance, while a scope is open."""

    def __init__(self, surroundings: Surroundings, frames: Sequence[Frame]) -> None:
        """Look for what stands in the place of parameters.

        Args:
            surroundings: What the scopes of the model share.
            frames: The running modules, innermost last.
        """
        self.surroundings = surroundings
        self.frames = frames
        self.suspects = surroundings.suspects
        self._swapped = surroundings.swapped()
        if self._swapped:
            self.suspects = {Tensor, *surroundings.suspects}

    def name_source(self, of: object) -> str:
        """Name a constant: a parameter or buffer by its own name, else by the module.

        Args:
            of: A tensor, or the name's last part.

        Returns:
            The qualified name.
        """
        if isinstance(of, Tensor):
            known = self.parameter_name(of)
            if known is not None:
                return known
            of = getattr(of, "_lrp_maker", "constant")
        module = self.frames[-1].name if self.frames else ""
        last = of if isinstance(of, str) else "constant"
        return f"{module}.{last}" if module else last

    def note(
        self, func: Callable[..., Any], result: Any, args: Sequence[Any], named: bool
    ) -> Any:
        """Note what a constant was made of, and whether of weights that learn.

        torch may choose another kernel for the former, whose rounding has to be the
        same; and a ledger says what a constant is by the name of what it was made of.

        Args:
            func: A function.
            result: What it returned, which carries no relevance.
            args: What it was given.
            named: Whether a ledger is being written.

        Returns:
            The result.
        """
        if isinstance(result, Tensor):
            if any(getattr(value, "_lrp_trainable", False) for value in args):
                result._lrp_trainable = True  # type: ignore[attr-defined]
            if named:
                self._name(func, result, args)
        elif named and type(result) in {list, tuple}:
            for part in result:
                if isinstance(part, Tensor) and not part.requires_grad:
                    self._name(func, part, args)
        elif named and result is None and args and isinstance(args[0], Tensor):
            if not args[0].requires_grad:  # __setitem__
                self._name(func, args[0], args[1:])
        return result

    def _name(
        self, func: Callable[..., Any], tensor: Tensor, args: Sequence[Any]
    ) -> None:
        """Name a constant by the first thing that it was made of, or who made it."""
        if not tensor.is_floating_point():
            if func.__name__ in _MOVES and args and not tensor.is_complex():
                _pass_name(args[0], tensor)
            return
        if self.parameter_name(tensor) is not None:
            return
        name = self._name_among(args)
        if name is None:
            makers = (getattr(value, "_lrp_maker", None) for value in _tensors(args))
            moved = func.__name__ in _MOVES | _JOINS
            maker = next(filter(None, makers), None) if moved else None
            maker = maker or func.__name__.strip("_")
            tensor._lrp_maker = maker  # type: ignore[attr-defined]
        else:
            tensor._lrp_name = name  # type: ignore[attr-defined]

    def _name_among(self, args: Sequence[Any]) -> str | None:
        """Return the name of the largest constant with one: the rest are weights."""
        found, size = None, 0
        for value in _tensors(args):
            if value.is_floating_point() and value.numel() > size:
                name = self.parameter_name(value)
                found, size = (found, size) if name is None else (name, value.numel())
        return found

    def parameter_name(self, tensor: Tensor) -> str | None:
        """Return the name of the parameter or buffer whose storage a tensor shares."""
        shared = self.surroundings
        known = getattr(tensor, "_lrp_name", None) or shared.name_of(tensor)
        if known is not None:
            return str(known)
        return shared.storages.get(storage_address(tensor))

    def name_of_rows(self, ids: object, weight: Tensor) -> str | None:
        """Name rows of a table of embeddings.

        Args:
            ids: What was looked up.
            weight: The table.

        Returns:
            See the function of that name.
        """
        return name_of_rows(ids, self.parameter_name(weight))

    def is_signal(self, tensor: Tensor) -> bool:
        """Tell what carries relevance from a parameter that requires a gradient.

        Args:
            tensor: An argument of a module.

        Returns:
            False for the model's parameters, and for what stands in their place.
        """
        return carries(tensor) and self.constant(tensor) is tensor

    def constant(self, value: Any) -> Any:
        """Detach the model's parameters: a weight is no factor to share with.

        Args:
            value: An argument.

        Returns:
            The argument itself if it is no parameter and holds none.
        """
        kind, suspects = type(value), self.suspects
        if kind not in suspects:
            return value
        if kind is tuple or kind is list:
            if suspects.isdisjoint(map(type, value)):
                return value  # a shape, most often
            return kind([self.constant(item) for item in value])
        if not value.requires_grad:
            return value
        own = self.surroundings.name_of(value)
        name = own or self._swapped.get(id(value))
        if name is None and kind is not Tensor:
            name = self._late_name(value)
        if name is None:
            return value
        constant = value.detach()
        constant._lrp_name, constant._lrp_trainable = name, True
        if own is None:
            constant._lrp_lent = True
        return constant

    def _late_name(self, value: Any) -> str | None:
        """Name a parameter that was put into the running module for this call."""
        frame = self.frames[-1]
        for name, parameter in frame.module.named_parameters():
            if parameter is value:
                return plain_name(f"{frame.name}.{name}" if frame.name else name)
        return None


def _tensors(values: Sequence[Any]) -> Iterator[Tensor]:
    """List the constants among arguments."""
    for value in values:
        if type(value) in {list, tuple}:
            yield from _tensors(value)
        elif isinstance(value, Tensor) and not value.requires_grad:
            yield value


def _pass_name(given: Any, made: Tensor) -> None:
    """Name token ids that were moved about as what they were."""
    name = getattr(given, "_lrp_name", None)
    if name is not None and given.dtype == made.dtype:
        made._lrp_name = name  # type: ignore[attr-defined]


def name_of_rows(ids: object, table: str | None) -> str | None:
    """Name rows of a table of embeddings.

    Args:
        ids: What was looked up.
        table: The name of the table.

    Returns:
        The input that ids of tokens were; else the table's name, for positions, types.
    """
    name = getattr(ids, "_lrp_name", None)
    return name if name is not None and name.endswith("input_ids") else table
