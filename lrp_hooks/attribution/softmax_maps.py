"""Softmax attention maps, seen where weights mix values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.autograd import carries
from ..engine.functions import FUSED, MOVES, PRODUCTS, SOFTMAX, spellings, table
from ..engine.notes import role, set_role
from ..engine.rule import FunctionTable, ScopeRule
from ..engine.ruleset import RuleSet
from ..engine.splicing import splice
from ..engine.stack import active_scope
from ..results.attention_maps import AttentionMap
from .attention_weights import attention_weights, every_head
from .depthwise import DEPTHWISE
from .unrolling import beginning

__all__ = ["SoftmaxMap", "SoftmaxRecorder", "by_head"]


@dataclass(frozen=True, eq=False)
class SoftmaxMap(AttentionMap):
    """A softmax's weights, as the model has them: heads may fold into the batch."""

    @property
    def handle(self) -> Tensor:
        """What the output's gradient is taken for."""
        return self.weights

    def shape(self, batch: int) -> tuple[int, int, int]:
        """Return ``(B, Q, K)``."""
        return batch, self.weights.shape[-2], self.weights.shape[-1]

    def seen(self, batch: int) -> AttentionMap:
        """Return the map that is shown, for ``B`` examples."""
        return AttentionMap(self.module, by_head(self.weights.detach(), batch))

    def gradient(self, grad: Tensor, seen: AttentionMap) -> Tensor:
        """Return the gradient of the map that is shown, given that of `handle`."""
        return by_head(grad, len(seen.weights))


def by_head(weights: Tensor, batch: int) -> Tensor:
    """Unfold heads where a model folds them into the batch.

    Args:
        weights: ``[B, H, Q, K]`` or ``[B * H, Q, K]``.
        batch: B.

    Returns:
        ``[B, H, Q, K]``.
    """
    return weights.view(batch, -1, *weights.shape[1:]) if weights.ndim == 3 else weights


class SoftmaxRecorder(ScopeRule):
    """Notes attention weights where they mix values.

    What they mixed to is a leaf, unless the graph is to go through the weights.
    """

    overwrites = True

    def __init__(self, found: list[Any], live: bool) -> None:
        """Say where maps are noted.

        Args:
            found: The list that they are added to.
            live: Whether the graph is to go through them.
        """
        self.found, self.live = found, live

    def functions(self, module: nn.Module | None) -> FunctionTable:
        """Return the table of softmax, of products and of fused attention.

        Args:
            module: Unused.

        Returns:
            The function table.
        """
        own = {
            **table(SOFTMAX, self._softmax),
            **table(MOVES, _keep_note),
            **table(FUSED, self._fused),
            **table(PRODUCTS, self._product),
        }
        return own if self.live else {**_gated_units(), **DEPTHWISE, **own}

    def _softmax(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return set_role(self._alive(func(*args, **kwargs)), _WEIGHTS)

    def _alive(self, weights: Tensor) -> Tensor:
        if not self.live or carries(weights):
            return weights if self.live else weights.detach()
        weights = weights.detach()
        weights.requires_grad = True
        return weights

    def _product(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        factors = [value for value in args if isinstance(value, Tensor)]
        if not factors or role(factors[0]) != _WEIGHTS:
            return func(*args, **kwargs)
        self._note(factors[0])
        out = func(*args, **kwargs)
        return out if self.live else beginning(out)[1]

    def _note(self, weights: Tensor) -> None:
        scope = active_scope()
        name = scope.frames[-1].name if scope is not None else ""
        self.found.append(SoftmaxMap(name, weights))

    def _fused(
        self,
        func: Callable[..., Any],
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        with torch.no_grad():
            out = func(query, key, value, *args, **kwargs)
        weights = self._alive(attention_weights(query, key, *args, **kwargs))
        self._note(weights)
        if not self.live:
            return beginning(out)[1]
        return splice(out, weights @ every_head(value, weights), _unchanged)


_WEIGHTS = "attention weights"


def _gated_units() -> FunctionTable:
    """Return the rule of gated units, whose gate is frozen."""
    known = RuleSet.named("conservative").functions()
    return {func: known[func] for func in spellings("glu") if func in known}


def _unchanged(grad: Tensor) -> Tensor:
    return grad


def _keep_note(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    out = func(*args, **kwargs)
    if args and role(args[0]) == _WEIGHTS and isinstance(out, Tensor):
        set_role(out, _WEIGHTS)
    return out
