"""Methods that look at one layer's vectors at a time: norms, GlobEnc, ALTI, zeroing.

Each makes a matrix a layer, row i of which says what token i is made of, from the same
blocks that DecompX decomposes; the matrices of all layers are then multiplied.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..attribution.readout import select
from .base import Explainer, check_option
from .calls import check_one_text
from .decompx.decomposition import RestOfBlock, Settings, normalise
from .decompx.encoder import Block, Mean, Select
from .decompx.forward import Recording, record_encoder
from .decompx.mixing import add_mixed_values
from .decompx.reading import find_place
from .rollout import RolloutExplanation, normalised, rollout

__all__ = ["Alti", "AttentionNorms", "GlobEnc", "ValueZeroing"]


class LayerVectors(Explainer):
    """Base of the methods that make one matrix a layer.

    They explain no class: ``target`` only says which output is reported.
    """

    method: str
    class_specific = False

    @abstractmethod
    def matrix(self, block: Block) -> Tensor:
        """Return one layer's matrix.

        Args:
            block: The layer, of one example without padding.

        Returns:
            [n, n]; row i says what token i is made of.
        """

    def joint(self, layers: Tensor) -> Tensor:
        """Make one matrix of all layers'.

        Args:
            layers: [L, B, T, T].

        Returns:
            [B, T, T].
        """
        return rollout(layers)

    @torch.no_grad()
    def __call__(self, inputs: Any, target: Any = None) -> RolloutExplanation:
        """Explain the token that the classifier takes, or the mean of all.

        Args:
            inputs: A tensor, a tuple of tensors or a mapping of keyword arguments.
            target: The output that is reported; see ``Instrumentation.attribute``.

        Returns:
            Scores [B, T], 0 at padding, and the matrices.
        """
        check_one_text(self.model, inputs, type(self).__name__)
        recording = record_encoder(self.model, inputs, find_place(self.model, inputs))
        n_layers, shape = len(recording.encoder.blocks), recording.attended.shape
        layers = recording.encoder.x.new_zeros(n_layers, *shape, shape[1])
        for row, tokens, example in recording.examples():
            for number, block in enumerate(example.blocks):
                layers[number, row, tokens[:, None], tokens] = self.matrix(block)
        joint = self.joint(layers)
        logits = recording.encoder.logits
        chosen = select(logits, target, self.model, len(logits), None)
        mask = recording.forward.call.mask
        return RolloutExplanation(
            scores=_taken_row(recording, joint),
            output=chosen.scalar,
            target=chosen.target,
            method=self.method,
            attended=None if mask is None else recording.attended,
            layers=layers,
            joint=joint,
            meta={"class_specific": self.class_specific},
        )


def _taken_row(recording: Recording, joint: Tensor) -> Tensor:
    """Return the row of the token that the head takes, or the mean row."""
    for step in recording.encoder.head:
        if isinstance(step, Select):
            return joint[:, step.index]
        if isinstance(step, Mean):
            return joint.mean(1)
    raise AssertionError  # one row of logits an example takes one of them


def attended(block: Block) -> Tensor:
    """Return the vectors that each token's value brings, [n, n, D]."""
    x = block.x if block.norm0 is None else block.norm0(block.x)
    vectors = x.new_zeros(len(x), *x.shape)
    add_mixed_values(block, block.weights(), block.value(x), vectors)
    return vectors


def with_residual(block: Block) -> Tensor:
    """Return the same with the token itself, x_i, added where i = j."""
    vectors = attended(block)
    vectors.diagonal(dim1=0, dim2=1).add_(block.x.T)
    return vectors


def normed(block: Block) -> Tensor:
    """Return the same after the first LayerNorm, its scale frozen, without its bias."""
    vectors = with_residual(block)
    normalise(block.norm1, vectors, slice(0, len(vectors)), _BIAS_FREE)
    return vectors


_BIAS_FREE = Settings("none")


class AttentionNorms(LayerVectors):
    """||sum_h a_h[i, j] f_h(x_j)|| (Kobayashi et al. 2020), also with what follows it.

    f_h(x) = (x W_V + b_V) W_O are a head's values after the output projection.
    """

    method = "attention_norms"

    def __init__(
        self, model: nn.Module, kind: str = "attention", layers: str = "last"
    ) -> None:
        """Choose what the norm is taken of.

        Args:
            model: An encoder with a classifier.
            kind: ``"attention"``; with the ``"residual"`` (AttnRes) and also LayerNorm
                (``"norm"``, AttnResLN; Kobayashi et al. 2021).
            layers: Scores from the ``"last"`` layer, the ``"mean"`` of all, or the
                ``"rollout"`` of row-normalised matrices.
        """
        super().__init__(model)
        check_option(self, "kind", kind, _KINDS)
        check_option(self, "layers", layers, _JOINS)
        self.kind = kind
        self.layers = layers

    def matrix(self, block: Block) -> Tensor:
        """Return the norms of one layer.

        Args:
            block: The layer.

        Returns:
            [n, n].
        """
        return _norm(_KINDS[self.kind](block))

    def joint(self, layers: Tensor) -> Tensor:
        """Join the layers as chosen.

        Args:
            layers: [L, B, T, T].

        Returns:
            [B, T, T].
        """
        return _JOINS[self.layers](layers)


_KINDS: dict[str, Callable[[Block], Tensor]] = {
    "attention": attended,
    "residual": with_residual,
    "norm": normed,
}
_JOINS: dict[str, Callable[[Tensor], Tensor]] = {
    "last": lambda layers: layers[-1],
    "mean": lambda layers: layers.mean(0),
    "rollout": lambda layers: rollout(normalised(layers)),
}


class GlobEnc(LayerVectors):
    """Norms of whole layers' vectors, multiplied (Modarressi et al. 2022).

    Attention with b_V, residual, LayerNorm, residual, LayerNorm, all other biases left
    out; products of matrices that are not normalised.
    """

    method = "globenc"

    def __init__(self, model: nn.Module, include_ffn: bool = False) -> None:
        """Choose the variant.

        Args:
            model: An encoder with a classifier.
            include_ffn: Whether the feed-forward network takes part, as in the variant
                that the DecompX paper compares with.
        """
        super().__init__(model)
        self.include_ffn = include_ffn

    def matrix(self, block: Block) -> Tensor:
        """Return the norms of one layer.

        Args:
            block: The layer.

        Returns:
            [n, n].
        """
        vectors = with_residual(block)
        settings = replace(_BIAS_FREE, include_ffn=self.include_ffn)
        RestOfBlock(block, None, settings)(vectors, slice(0, len(vectors)), None)
        return _norm(vectors)


class Alti(LayerVectors):
    """How near a token's vector T_i(x_j) comes to the sum y_i (Ferrando et al. 2022).

    c_ij = max(0, ||y_i|| - ||y_i - T_i(x_j)||) with 1-norms, after the first LayerNorm;
    rows normalised over j, layers multiplied.
    """

    method = "alti"

    def matrix(self, block: Block) -> Tensor:
        """Return the contributions of one layer.

        Args:
            block: The layer.

        Returns:
            [n, n]; rows sum to 1.
        """
        whole = block.norm1(block.norm1.x).unsqueeze(1)
        distance = _norm(whole - normed(block), 1)
        return normalised((_norm(whole, 1) - distance).clamp(min=0))


class ValueZeroing(LayerVectors):
    """How far a layer's output moves without a token's value (Mohebbi et al. 2023).

    c_ij = 1 - cos(y_i, y_i without v_j), rows normalised over j, layers multiplied.
    """

    method = "value_zeroing"

    def matrix(self, block: Block) -> Tensor:
        """Return the cosine distances of one layer.

        Args:
            block: The layer.

        Returns:
            [n, n]; rows sum to 1.
        """
        middle = block.norm1.x  # the sum of the residual and attention
        original = _output(block, middle).unsqueeze(1)
        changed = _output(block, middle.unsqueeze(1) - attended(block))
        distance = 1 - F.cosine_similarity(original, changed, dim=-1)
        return normalised(distance.clamp(min=0))


def _output(block: Block, middle: Tensor) -> Tensor:
    """Run the rest of a layer on other sums after attention, [..., D]."""
    x = block.norm1(middle)
    branch = block.down(block.activation.function(block.up(x)))
    return middle + branch if block.norm2 is None else block.norm2(x + branch)


def _norm(vectors: Tensor, order: int = 2) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(vectors, ord=order, dim=-1)
    return norms
