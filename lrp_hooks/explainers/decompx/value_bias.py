"""The first layer's value bias, which goes along with attention to the tokens.

A habit of the published code (`value_bias="follow"`): the bias at a position is a part
of the token there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...engine.subject import Subject
from ...engine.undo import Undo
from .reading import Place

__all__ = ["BIAS", "ValueBias"]

BIAS = "the first layer's value bias"


class ValueBias:
    """A tangent of its own for the bias of the first layer's values.

    Attributes:
        leaf: Zeros that were added to what the layer returned.
        values: The bias.
    """

    def __init__(self, subject: Subject, place: Place, undo: Undo) -> None:
        """Watch the layer.

        Args:
            subject: The instrumented model.
            place: Where vectors start.
            undo: Takes the hooks off.
        """
        name, _, parameter = (place.value_bias or "").rpartition(".")
        self.leaf: Tensor | None = None
        self.values: Tensor | None = None
        if place.value_bias:
            module = subject.modules[name]
            self.values = getattr(module, parameter).detach()
            undo.hook(subject.model, "forward_pre_hook", self._begin)
            undo.hook(module, "forward_hook", self._add)

    def _begin(self, *_: object) -> None:
        self.leaf = None

    def _add(self, module: nn.Module, args: Any, output: Any) -> Any:
        if self.leaf is not None or not isinstance(output, Tensor):
            return None
        self.leaf = torch.zeros_like(output)
        self.leaf.requires_grad = True  # not requires_grad_, which scopes leave
        return output + self.leaf

    def parts(self, count: int) -> Tensor:
        """Let the bias at a position go with the token there.

        Args:
            count: K, the number of sources.

        Returns:
            ``[K, B, T, W]``.
        """
        assert self.leaf is not None and self.values is not None
        part = self.leaf.detach().new_zeros(count, *self.leaf.shape)
        index = torch.arange(self.leaf.shape[1], device=part.device)
        part[index, :, index] = self.values
        return part
