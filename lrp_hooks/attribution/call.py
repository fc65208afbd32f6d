"""One call of a model: its arguments, and what of them is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .copies import copied, swapped

__all__ = ["Call"]


@dataclass
class Call:
    """One call of a model.

    Attributes:
        args: Positional arguments.
        kwargs: Keyword arguments.
        main: The input that says what B and T are.
        floats: ``{name: tensor}`` of the float inputs that are read by default.
        tensors: ``{name: tensor}`` of all inputs.
        content: Names of the inputs that are read by default.
        owner: Of graphs, which one each node belongs to, [N]: those are the examples.
        mask: The attention mask of the main input, [B, T], or None.
        output_mask: The attention mask that belongs to the logits, or None.
        batch_dim: Which axis of the main input counts the examples.
        doubt: What may be wrong with the inputs should the model fail.
        doubtful: A word of the failures that it may explain; all without one.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    main: Tensor
    floats: dict[str, Tensor] = field(default_factory=dict)
    mask: Tensor | None = None
    output_mask: Tensor | None = None
    batch_dim: int = 0
    doubt: str = ""
    doubtful: str = ""
    tensors: dict[str, Tensor] = field(default_factory=dict)
    content: tuple[str, ...] = ()
    owner: Tensor | None = None

    @property
    def batch(self) -> int:
        """B."""
        if self.owner is not None:
            return int(self.owner.max()) + 1
        return self.main.shape[self.batch_dim]

    @property
    def has_choices(self) -> bool:
        """Whether the main input has ids of several texts an example, [B, C, T]."""
        return self.main.ndim == 3 and not self.main.is_floating_point()

    @property
    def attended(self) -> Tensor | None:
        """Which tokens are no padding: boolean ``[B, T]``, ``[B, C, T]`` of choices."""
        mask = self.mask
        if self.has_choices:
            given = self.tensors.get("attention_mask")
            fits = given is not None and given.shape == self.main.shape
            mask = given if fits else torch.ones_like(self.main)
        return None if mask is None else mask.detach() != 0

    @property
    def rows(self) -> Tensor:
        """The main input with its examples first."""
        return self.main.movedim(self.batch_dim, 0)

    def axis(self, value: Tensor) -> int:
        """Return which axis of a tensor counts the examples.

        Args:
            value: A float input, or what a module returned.

        Returns:
            `batch_dim` where the tensor has the layout of the main input; 1 where a
            model has turned tokens [B, T] to [T, B, D]; else 0.
        """
        dim, shape = self.batch_dim, self.main.shape[:2]
        if dim == 0 and value.ndim == 3 and self.main.ndim == 2 and self.owner is None:
            return int(value.shape[:2] == shape[::-1] != shape)
        if value.ndim <= dim or value.shape[dim] != self.batch:
            return 0
        alike = value.ndim > 2 or value.shape == self.main.shape
        return dim if alike or value.shape[0] != self.batch else 0

    def fresh(self) -> Call:
        """Return the call on copies, so that nothing of the caller's is changed."""
        memo: dict[int, Any] = {}
        args = tuple(copied(i, value, memo) for i, value in enumerate(self.args))
        kwargs = {key: copied(key, value, memo) for key, value in self.kwargs.items()}
        return self.made_of(args, kwargs, lambda value: memo.get(id(value), value))

    def with_tensors(self, given: Mapping[str, Tensor]) -> Call:
        """Return the call with other tensors in place of inputs.

        Args:
            given: ``{name: tensor}`` for names of `tensors`.

        Returns:
            A new call.
        """
        swap = {id(self.tensors[name]): value for name, value in given.items()}
        kwargs = {
            key: given[key]
            if key in given and isinstance(value, Tensor)
            else swapped(value, swap)
            for key, value in self.kwargs.items()
        }
        args = swapped(self.args, swap)
        made = self.made_of(args, kwargs, lambda value: swap.get(id(value), value))
        return replace(
            made,
            tensors={**made.tensors, **given},
            floats={name: given.get(name, v) for name, v in made.floats.items()},
        )

    def made_of(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        new: Callable[[Any], Any],
    ) -> Call:
        """Return the call with other arguments.

        Args:
            args: Positional ones.
            kwargs: Keyword ones.
            new: Finds the tensor that stands there in place of one of this call.

        Returns:
            A new call, of which all attributes tell.
        """
        return replace(
            self,
            args=args,
            kwargs=kwargs,
            main=new(self.main),
            floats={name: new(value) for name, value in self.floats.items()},
            mask=new(self.mask),
            output_mask=new(self.output_mask),
            tensors={name: new(value) for name, value in self.tensors.items()},
        )
