"""GAE: attention weighed by its gradient, through self- and cross-attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.attention_maps import Recorded
from ..attribution.inputs import is_encoder_decoder
from ..errors import UnsupportedModelError
from .attention import AttentionMethod, identity, taken
from .rollout import normalised, rollout

__all__ = ["GenericAttention"]


class GenericAttention(AttentionMethod):
    """GAE: attention weighted by its gradient, and propagated through the layers.

    R <- R + mean_h((dy/dA * A)+) R for self-attention (Chefer et al. 2021, "Generic
    Attention-model Explainability", eq. 5, 6); with eq. 8 to 11 for the cross-attention
    of encoder-decoders, whose scores are those of the encoder's tokens.
    """

    method = "generic_attention"
    class_specific = True

    def layer(self, weights: Tensor, gradient: Tensor | None) -> Tensor:
        """Average what the gradient says of each head.

        Args:
            weights: Its map, [B, H, Q, K].
            gradient: The gradient of the explained output.

        Returns:
            [B, Q, K], not negative.
        """
        assert gradient is not None
        return (weights * gradient).clamp(min=0).mean(1)

    def joint(self, layers: Tensor, rows: Tensor) -> Tensor:
        """Propagate through self-attention.

        Args:
            layers: [L, B, T, T].
            rows: Unused.

        Returns:
            [B, T, T].
        """
        return rollout(layers + identity(layers))

    def _read(
        self, recorded: Recorded, gradients: list[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        if not is_encoder_decoder(self.model):
            return super()._read(recorded, gradients)
        weighed, last = self._layers(recorded, gradients)
        n_encoder = _count_in_encoder(self.model, recorded)
        encoder, decoder = weighed[:n_encoder], weighed[n_encoder:]
        layers = torch.stack(encoder)
        joint = _across(self.joint(layers, layers), decoder)
        rows = taken(last)
        return layers, joint, rows if self.query == "taken" else torch.ones_like(rows)


def _count_in_encoder(model: nn.Module, recorded: Recorded) -> int:
    """Return how many maps are the encoder's, which come first.

    Raises:
        UnsupportedModelError: If the model does not say which part its encoder is.
    """
    get_encoder: Any = getattr(model, "get_encoder", lambda: None)
    encoder = get_encoder()
    names = [name for name, module in model.named_modules() if module is encoder]
    if not names:
        raise UnsupportedModelError(
            f"{type(model).__name__} has no get_encoder() that returns one of its "
            "modules, so its cross-attention cannot be told from the rest. Use 'lrp'."
        )
    return sum(found.module.startswith(f"{names[0]}.") for found in recorded.maps)


def _across(source: Tensor, decoder: Sequence[Tensor]) -> Tensor:
    """Propagate through a decoder, whose self- and cross-attention take turns.

    Args:
        source: What the encoder's tokens are made of, [B, K, K].
        decoder: Weighed maps, [B, Q, Q] and [B, Q, K] in turn.

    Returns:
        What the decoder's tokens take from the encoder's, [B, Q, K].
    """
    own = identity(decoder[0]).expand_as(decoder[0])
    joint = torch.zeros_like(decoder[1])
    for number, weighed in enumerate(decoder):
        if number % 2 == 0:
            own, joint = own + weighed @ own, joint + weighed @ joint
        else:
            brought = weighed @ _without_identity(source)
            joint += _without_identity(own).transpose(1, 2) @ brought
    return joint


def _without_identity(relevance: Tensor) -> Tensor:
    """Return rownorm(R - I) + I (eq. 8, 9)."""
    own = identity(relevance)
    return normalised(relevance - own) + own
