"""Which arguments are the model's parameters, under whatever name and in whose place.

A constant is what does not depend on what is read: a weight that requires a gradient
is none the less no factor to share relevance with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .autograd import carries
from .surroundings import Frame, Surroundings, storage_address
from .wrappers import plain_name

__all__ = ["Constants", "note_trained"]


def note_trained(result: Any, args: Sequence[Any]) -> Any:
    """Note that a constant was made of weights that require a gradient.

    torch may choose another kernel for it, whose rounding has to be the same.

    Args:
        result: What a function returned.
        args: What it was given.

    Returns:
        The result.
    """
    if isinstance(result, Tensor) and not result.requires_grad:
        if any(getattr(value, "_lrp_trainable", False) for value in args):
            result._lrp_trainable = True  # type: ignore[attr-defined]
    return result


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
        module = self.frames[-1].name if self.frames else ""
        if isinstance(of, Tensor):
            known = self.parameter_name(of)
            if known is not None:
                return str(known)
            of = "constant"
        last = of if isinstance(of, str) else "constant"
        return f"{module}.{last}" if module else last

    def parameter_name(self, tensor: Tensor) -> str | None:
        """Return the name of the parameter or buffer whose storage a tensor shares."""
        shared = self.surroundings
        known = getattr(tensor, "_lrp_name", None) or shared.name_of(tensor)
        if known is not None:
            return str(known)
        return shared.storages.get(storage_address(tensor))

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
        kind = type(value)
        if kind not in self.suspects:
            return value
        if kind in {list, tuple}:
            if not any(type(item) in self.suspects for item in value):
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
        constant._lrp_lent = own is None
        return constant

    def _late_name(self, value: Any) -> str | None:
        """Name a parameter that was put into the running module for this call."""
        frame = self.frames[-1]
        for name, parameter in frame.module.named_parameters():
            if parameter is value:
                return plain_name(f"{frame.name}.{name}" if frame.name else name)
        return None
