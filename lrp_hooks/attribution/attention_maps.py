"""Attention maps, whatever the attention implementation: the frozen gates themselves.

Maps come from the function scope, so no model is asked for ``output_attentions`` and
fused kernels stay. Each map can be live: part of the graph, so that the gradient of an
output with respect to it can be taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..engine.autograd import carries, splice
from ..engine.functions import FUSED, MOVES, PRODUCTS, SOFTMAX, table
from ..engine.notes import role, set_role
from ..engine.rule import FunctionTable, ScopeRule
from ..engine.sources import SourceCollector
from ..engine.stack import active_scope
from ..engine.subject import Subject
from ..errors import UnsupportedModelError
from ..results import attention_maps as results
from ..results.attention_maps import AttentionMap
from .attention_weights import attention_weights, every_head
from .inputs import Call
from .instrument import instrument
from .passes import prepared

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AttentionMaps", "Recorded", "attention_weights", "by_head", "record_maps"]


class AttentionMaps(results.AttentionMaps):
    """All attention maps of one forward pass, in the order in which they were made.

    Attributes:
        maps: One a layer; an encoder-decoder has those of all its attentions.
        attended: Boolean ``[B, T]``, false at padding, or ``None`` where there is none.
        tokens: ``B`` lists of tokens with their padding, where the inputs know them.
    """

    @classmethod
    def of(cls, model: nn.Module, inputs: Any) -> Self:
        """Run a model and keep its attention maps.

        Args:
            model: Any model with softmax attention; it is left as it was.
            inputs: A tensor, a tuple of tensors or a mapping of keyword arguments; what
                a fast tokenizer returned knows its tokens.

        Returns:
            The maps.
        """
        recorded = record_maps(model, inputs, live=False)
        batch = recorded.call.batch
        maps = tuple(
            AttentionMap(found.module, by_head(found.weights, batch))
            for found in recorded.maps
        )
        return cls(maps, recorded.attended, _tokens(inputs, batch))


@dataclass(frozen=True, eq=False)
class Recorded:
    """A forward pass with its maps.

    Attributes:
        maps: See `AttentionMaps`.
        output: What the model returned.
        call: How it was called.
    """

    maps: tuple[AttentionMap, ...]
    output: Any
    call: Call

    @property
    def attended(self) -> Tensor | None:
        """Boolean [B, T], or None."""
        mask = self.call.mask
        return None if mask is None else mask.detach() != 0


def _tokens(inputs: Any, batch: int) -> list[list[str]] | None:
    """Return the tokens that a fast tokenizer has left with its batch."""
    encodings = getattr(inputs, "encodings", None) or ()
    found = [list(encoding.tokens) for encoding in encodings]
    return found if len(found) == batch else None


def by_head(weights: Tensor, batch: int) -> Tensor:
    """Unfold heads where a model folds them into the batch.

    Args:
        weights: ``[B, H, Q, K]`` or ``[B * H, Q, K]``.
        batch: B.

    Returns:
        ``[B, H, Q, K]``.
    """
    return weights.view(batch, -1, *weights.shape[1:]) if weights.ndim == 3 else weights


def record_maps(model: nn.Module, inputs: Any, live: bool) -> Recorded:
    """Run a model and keep its attention maps.

    Args:
        model: The model.
        inputs: What it is called with.
        live: Whether the output's graph goes through the maps, from the first on.

    Returns:
        The maps, and what the model returned.

    Raises:
        UnsupportedModelError: If the model has no softmax attention.
    """
    rule = _Recorder(live)
    subject = Subject(model)
    with instrument(model, "gradient", overrides={model: rule}) as lrp:
        lrp.runtime.settled = _ignore  # no relevance is propagated here
        with prepared(subject, inputs) as given:
            call = given.fresh()
            lrp.runtime.collector = SourceCollector(call.batch, None)
            try:
                output = model(*call.args, **call.kwargs)
            finally:
                lrp.runtime.collector = None
    if not rule.found:
        raise UnsupportedModelError(
            f"{type(model).__name__} called no softmax whose result mixes values: no "
            "attention was found. Use a method that needs none, such as 'lrp'."
        )
    return Recorded(tuple(rule.found), output, call)


def _ignore(*_: object) -> None:
    pass


class _Recorder(ScopeRule):
    """Notes attention weights where they mix values."""

    overwrites = True

    def __init__(self, live: bool) -> None:
        self.live = live
        self.found: list[AttentionMap] = []

    def functions(self, module: nn.Module | None) -> FunctionTable:
        return {
            **table(SOFTMAX, self._softmax),
            **table(MOVES, _keep_note),
            **table(FUSED, self._fused),
            **table(PRODUCTS, self._product),
        }

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
        if factors and role(factors[0]) == _WEIGHTS:
            self._note(factors[0])
        return func(*args, **kwargs)

    def _note(self, weights: Tensor) -> None:
        scope = active_scope()
        name = scope.frames[-1].name if scope is not None else ""
        self.found.append(AttentionMap(name, weights))

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
            return out
        return splice(out, weights @ every_head(value, weights), _unchanged)


_WEIGHTS = "attention weights"


def _unchanged(grad: Tensor) -> Tensor:
    return grad


def _keep_note(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    out = func(*args, **kwargs)
    if args and role(args[0]) == _WEIGHTS and isinstance(out, Tensor):
        set_role(out, _WEIGHTS)
    return out
