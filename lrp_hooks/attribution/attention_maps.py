"""Attention maps, whatever the attention implementation: the frozen gates themselves.

Maps come from the function scope, so no model is asked for ``output_attentions`` and
fused kernels stay. Layers that mix tokens without a softmax are unrolled. Each map can
be live: then the gradient of an output with respect to it can be taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from ..errors import ArgumentError
from ..results import attention_maps as results
from ..results.attention_maps import AttentionMap
from .attention_weights import attention_weights
from .recorded import Recorded, record_maps

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["AttentionMaps", "Recorded", "attention_weights", "record_maps"]

HEADS = ("each", "mean")


class AttentionMaps(results.AttentionMaps):
    """All attention maps of one forward pass, in the order in which they were made.

    Attributes:
        maps: One a layer; an encoder-decoder has those of all its attentions, a hybrid
            those of every kind.
        attended: Boolean ``[B, T]``, false at padding, or ``None`` where there is none.
        tokens: ``B`` lists of tokens with their padding, where the inputs know them.
        fixed: Modules that take tokens mixed by weights that no input changes.
    """

    @classmethod
    def of(cls, model: nn.Module, inputs: Any, heads: str = "each") -> Self:
        """Run a model and keep its attention maps.

        A layer that mixes tokens without a softmax (Mamba, RWKV, linear attention) is
        unrolled with its gates frozen, by one backward pass a token (Zimerman et al.
        2024, "A Unified Implicit Attention Formulation").

        Args:
            model: Any model that mixes tokens by attention; it is left as it was.
            inputs: A tensor, a tuple of tensors or a mapping of keyword arguments; what
                a fast tokenizer returned knows its tokens.
            heads: ``"each"``, or ``"mean"``: one map a layer, the mean over its heads.
                Mamba has a head a channel: then the mean saves memory.

        Returns:
            The maps.

        Raises:
            ArgumentError: If ``heads`` is neither. A model that has no attention, or a
                layer that mixes tokens otherwise, is an `UnsupportedModelError`.
        """
        if heads not in HEADS:
            raise ArgumentError(
                f"heads={heads!r} must be one of {', '.join(map(repr, HEADS))}."
            )
        recorded = record_maps(model, inputs, live=False)
        batch = recorded.call.batch
        shown = _mean if heads == "mean" else _each
        maps = [shown(found.seen(batch)) for found in recorded.maps]
        tokens = _tokens(inputs, batch)
        return cls(tuple(maps), recorded.attended, tokens, recorded.fixed)


def _each(found: AttentionMap) -> AttentionMap:
    return found


def _mean(found: AttentionMap) -> AttentionMap:
    return AttentionMap(found.module, found.weights.mean(1, keepdim=True), found.kind)


def _tokens(inputs: Any, batch: int) -> list[list[str]] | None:
    """Return the tokens that a fast tokenizer has left with its batch."""
    encodings = getattr(inputs, "encodings", None) or ()
    found = [list(encoding.tokens) for encoding in encodings]
    return found if len(found) == batch else None
