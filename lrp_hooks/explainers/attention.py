"""Explanations that read attention maps: their base, the last layer, and rollout.

Which query is read, the class token's or another, is found by the gradient: the rows of
the last map that the explained output depends on.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.attention_maps import Recorded, record_maps
from ..attribution.backward import gradients
from ..attribution.inputs import is_encoder_decoder
from ..attribution.readout import select
from ..attribution.sharing import is_sharing, shared
from ..errors import UnsupportedModelError
from .base import Explainer, check_option
from .calls import check_one_text
from .rollout import RolloutExplanation, normalised, rollout

__all__ = ["AttentionLast", "AttentionMethod", "AttentionRollout", "identity", "taken"]

_HEADS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda maps: maps.abs().mean(-3),
    "max": lambda maps: maps.abs().amax(-3),
}


class AttentionMethod(Explainer):
    """Base: records maps, makes one matrix of them, and reads the query's row."""

    method: str
    class_specific = False

    def __init__(self, model: nn.Module, query: str = "taken") -> None:
        """Choose what is read off the matrix.

        Args:
            model: A model with attention, or layers that unroll to it.
            query: ``"taken"``: the row of the query that the output depends on, the
                mean of several; ``"sum"``: the sum over all queries (the variant that
                Ali et al. 2022 compare with).
        """
        super().__init__(model)
        check_option(self, "query", query, ("taken", "sum"))
        self.query = query

    @abstractmethod
    def joint(self, layers: Tensor, rows: Tensor) -> Tensor:
        """Make one matrix of all layers'.

        Args:
            layers: [L, B, T, T], one a layer.
            rows: Which rows will be read, boolean [B, T].

        Returns:
            [B, T, T].
        """

    def layer(self, weights: Tensor, gradient: Tensor | None) -> Tensor:
        """Make a layer's matrix.

        Args:
            weights: Its map, [B, H, T, T].
            gradient: The gradient of the explained output, for class-specific methods.

        Returns:
            [B, T, T].
        """
        return weights.abs().mean(1)

    def __call__(self, inputs: Any, target: Any = None) -> RolloutExplanation:
        """Explain one output of each example.

        Args:
            inputs: A tensor, a tuple of tensors or a mapping of keyword arguments.
            target: As ``Instrumentation.attribute`` takes it; methods that explain no
                class only report that output.

        Returns:
            Scores [B, T], 0 at padding, and the matrices.
        """
        check_one_text(self.model, inputs, type(self).__name__)
        recorded = shared(
            "maps",
            self.model,
            inputs,
            lambda: record_maps(self.model, inputs, live=True),
        )
        call = recorded.call
        mask = call.output_mask
        with torch.enable_grad():
            chosen = select(recorded.output, target, self.model, call.batch, mask)
            total = chosen.scalar.sum()
        gradients = _differentiate(recorded, total)
        layers, joint, rows = self._read(recorded, gradients)
        scores = (joint * rows.unsqueeze(-1)).sum(1)
        if self.query == "taken":
            scores /= rows.sum(1, keepdim=True)
        return RolloutExplanation(
            scores=scores,
            output=chosen.scalar.detach(),
            target=chosen.target,
            method=self.method,
            attended=recorded.attended,
            layers=layers,
            joint=joint,
            meta={"class_specific": self.class_specific},
        )

    def _read(
        self, recorded: Recorded, gradients: list[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the matrices of layers, of all, and which rows to read."""
        _check_square(self, recorded)
        each, last = self._layers(recorded, gradients)
        rows = self._rows(recorded, last)
        layers = torch.stack(each)
        return layers, self.joint(layers, rows), rows

    def _layers(
        self, recorded: Recorded, gradients: list[Tensor]
    ) -> tuple[list[Tensor], Tensor]:
        """Return every layer's matrix, and the gradient of the last map."""
        layers = []
        # One at a time: an unrolled layer has a map a channel.
        for found, grad in zip(recorded.maps, gradients, strict=True):
            seen = found.seen(recorded.call.batch)
            own = found.gradient(grad, seen)
            layers.append(self.layer(seen.weights, own))
        return layers, own

    def _rows(self, recorded: Recorded, gradient: Tensor) -> Tensor:
        """Return which queries are read, boolean [B, T]."""
        if self.query == "taken":
            return taken(gradient)
        attended = recorded.attended
        if attended is None:
            return torch.ones_like(gradient[:, 0, :, 0], dtype=torch.bool)
        return attended


def _differentiate(recorded: Recorded, total: Tensor) -> list[Tensor]:
    """Return the output's gradients for what makes up the maps."""
    wanted = {str(n): found.handle for n, found in enumerate(recorded.maps)}
    kept = torch.ones_like(total) if is_sharing() else None
    found = gradients(total, wanted, kept, selects=False)
    if str(len(wanted) - 1) not in found:
        raise UnsupportedModelError(
            "the explained output does not depend on the last attention map "
            f"({recorded.maps[-1].module}); its graph is cut, or the target does not "
            "use the model's output."
        )
    nothing = {name: torch.zeros_like(handle) for name, handle in wanted.items()}
    return list({**nothing, **found}.values())


def identity(weights: Tensor) -> Tensor:
    """Return the identity that goes with maps.

    Args:
        weights: [..., T, T].

    Returns:
        [T, T].
    """
    return torch.eye(weights.shape[-1], dtype=weights.dtype, device=weights.device)


def taken(gradient: Tensor) -> Tensor:
    """Find the queries of a map that an output depends on.

    Args:
        gradient: The output's gradient for the map, [B, H, Q, K].

    Returns:
        Boolean [B, Q].
    """
    rows: Tensor = gradient.abs().sum((1, 3)) > 0
    # An output that is flat at this point depends on all alike.
    return rows | ~rows.any(1, keepdim=True)


def _check_square(explainer: Explainer, recorded: Recorded) -> None:
    """Refuse maps that are not between the same tokens in every layer.

    Raises:
        UnsupportedModelError: If they are not.
    """
    batch = recorded.call.batch
    sizes = {found.shape(batch) for found in recorded.maps}
    one = sizes == {(batch, *2 * recorded.maps[0].shape(batch)[2:])}
    if not one or is_encoder_decoder(explainer.model):
        raise UnsupportedModelError(
            f"{type(explainer).__name__} needs self-attention between the same tokens "
            f"in every layer, and {type(explainer.model).__name__} has maps of "
            f"[B, Q, K] = {', '.join(map(str, sorted(sizes)))}, by cross-attention or "
            "windows. Use 'generic_attention' for encoder-decoders, or 'lrp'."
        )


class AttentionLast(AttentionMethod):
    """The attention of the last layer."""

    method = "attention_last"

    def __init__(
        self, model: nn.Module, heads: str = "mean", query: str = "taken"
    ) -> None:
        """Choose the variant.

        Args:
            model: A model with attention, or layers that unroll to it.
            heads: ``"mean"`` or ``"max"`` over heads.
            query: ``"taken"``: the row of the query that the output depends on, the
                mean of several; ``"sum"``: the sum over all queries (A-Last of Ali et
                al. 2022).
        """
        super().__init__(model, query)
        check_option(self, "heads", heads, _HEADS)
        self.heads = heads

    def layer(self, weights: Tensor, gradient: Tensor | None) -> Tensor:
        """Join the heads.

        Args:
            weights: Its map, [B, H, T, T].
            gradient: Unused.

        Returns:
            [B, T, T].
        """
        return _HEADS[self.heads](weights)

    def joint(self, layers: Tensor, rows: Tensor) -> Tensor:
        """Take the last layer.

        Args:
            layers: [L, B, T, T].
            rows: Unused.

        Returns:
            [B, T, T].
        """
        return layers[-1]


class AttentionRollout(AttentionMethod):
    """A_L ... A_1 with A the mean over heads plus I, rows divided by their sum.

    Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3.
    """

    method = "attention_rollout"

    def __init__(
        self, model: nn.Module, residual: bool = True, query: str = "taken"
    ) -> None:
        """Choose the variant.

        Args:
            model: A model with attention, or layers that unroll to it.
            residual: Whether the residual stream counts, as I.
            query: See `AttentionLast`; ``"sum"`` is the Rollout of Ali et al. 2022.
        """
        super().__init__(model, query)
        self.residual = residual

    def layer(self, weights: Tensor, gradient: Tensor | None) -> Tensor:
        """Average the heads and add the residual.

        Args:
            weights: Its map, [B, H, T, T].
            gradient: Unused.

        Returns:
            [B, T, T]; rows sum to 1.
        """
        return normalised(weights.abs().mean(1) + self.residual * identity(weights))

    def joint(self, layers: Tensor, rows: Tensor) -> Tensor:
        """Multiply the layers.

        Args:
            layers: [L, B, T, T].
            rows: Unused.

        Returns:
            [B, T, T].
        """
        return rollout(layers)
