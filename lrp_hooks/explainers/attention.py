"""Explanations that read attention maps: last layer, rollout, flow, and GAE.

Which query is read, the class token's or another, is found by the gradient: the rows of
the last map that the explained output depends on.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..attention_maps import Recorded, record_maps
from ..errors import ArgumentError, UnsupportedModelError
from ..inputs import is_encoder_decoder
from ..readout import select
from .base import Explainer, check_option
from .rollout import RolloutExplanation, normalised, rollout

__all__ = ["AttentionFlow", "AttentionLast", "AttentionRollout", "GenericAttention"]

_HEADS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda maps: maps.mean(-3),
    "max": lambda maps: maps.amax(-3),
}


class AttentionMethod(Explainer):
    """Base: records maps, makes one matrix of them, and reads the query's row."""

    method: str
    class_specific = False

    def __init__(self, model: nn.Module, query: str = "taken") -> None:
        """Choose what is read off the matrix.

        Args:
            model: A model with softmax attention.
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
        return weights.mean(1)

    def __call__(self, inputs: Any, target: Any = None) -> RolloutExplanation:
        """Explain one output of each example.

        Args:
            inputs: A tensor, a tuple of tensors or a mapping of keyword arguments.
            target: As ``Instrumentation.attribute`` takes it; methods that explain no
                class only report that output.

        Returns:
            Scores [B, T], 0 at padding, and the matrices.
        """
        recorded = record_maps(self.model, inputs, live=True)
        call = recorded.call
        mask = call.output_mask
        with torch.enable_grad():
            chosen = select(recorded.output, target, self.model, call.batch, mask)
        maps, gradients = _differentiate(recorded, chosen.scalar, self.class_specific)
        layers, joint, rows = self._read(recorded, maps, gradients)
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
        )

    def _read(
        self, recorded: Recorded, maps: list[Tensor], gradients: list[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the matrices of layers, of all, and which rows to read."""
        _check_square(self, recorded, maps)
        rows = self._rows(recorded, gradients[-1])
        every = gradients if self.class_specific else [None] * len(maps)
        layers = torch.stack([
            self.layer(weights, gradient)
            for weights, gradient in zip(maps, every, strict=True)
        ])
        return layers, self.joint(layers, rows), rows

    def _rows(self, recorded: Recorded, gradient: Tensor) -> Tensor:
        """Return which queries are read, boolean [B, T]."""
        if self.query == "taken":
            return _taken(gradient)
        attended = recorded.attended
        if attended is None:
            return torch.ones_like(gradient[:, 0, :, 0], dtype=torch.bool)
        return attended


def _differentiate(
    recorded: Recorded, scalar: Tensor, every: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the maps [B, H, Q, K], and the output's gradients for all or the last."""
    weights = [found.weights for found in recorded.maps]
    wanted = weights if every else weights[-1:]
    found: Sequence[Tensor | None] = (None,) * len(wanted)
    if scalar.requires_grad:
        found = torch.autograd.grad(scalar.sum(), wanted, allow_unused=True)
    if found[-1] is None:
        raise UnsupportedModelError(
            "the explained output does not depend on the last attention map "
            f"({recorded.maps[-1].module}); its graph is cut, or the target does not "
            "use the model's output."
        )
    batch = recorded.call.batch
    maps = [_by_head(map_.detach(), batch) for map_ in weights]
    gradients = [
        torch.zeros_like(map_) if gradient is None else gradient
        for map_, gradient in zip(wanted, found, strict=True)
    ]
    return maps, [_by_head(gradient, batch) for gradient in gradients]


def _identity(weights: Tensor) -> Tensor:
    return torch.eye(weights.shape[-1], dtype=weights.dtype, device=weights.device)


def _by_head(weights: Tensor, batch: int) -> Tensor:
    """Return [B, H, Q, K] where a model folds heads into the batch."""
    return weights.view(batch, -1, *weights.shape[1:]) if weights.ndim == 3 else weights


def _taken(gradient: Tensor) -> Tensor:
    """Return the queries of a map that an output depends on, boolean [B, Q]."""
    rows: Tensor = gradient.abs().sum((1, 3)) > 0
    # An output that is flat at this point depends on all alike.
    return rows | ~rows.any(1, keepdim=True)


def _check_square(
    explainer: Explainer, recorded: Recorded, maps: Sequence[Tensor]
) -> None:
    """Refuse maps that are not between the same tokens in every layer.

    Raises:
        UnsupportedModelError: If they are not.
    """
    sizes = {(len(found), *found.shape[2:]) for found in maps}
    one = sizes == {(recorded.call.batch, maps[0].shape[-1], maps[0].shape[-1])}
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
            model: A model with softmax attention.
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
            model: A model with softmax attention.
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
        return normalised(weights.mean(1) + self.residual * _identity(weights))

    def joint(self, layers: Tensor, rows: Tensor) -> Tensor:
        """Multiply the layers.

        Args:
            layers: [L, B, T, T].
            rows: Unused.

        Returns:
            [B, T, T].
        """
        return rollout(layers)


class AttentionFlow(AttentionRollout):
    """The largest flow from a query in the last layer to each input token.

    The matrices of `AttentionRollout` are capacities of edges between layers (Abnar &
    Zuidema 2020, section 3). One maximum-flow problem a token: slow, for short texts.
    """

    method = "attention_flow"

    def joint(self, layers: Tensor, rows: Tensor) -> Tensor:
        """Solve the flow problems of the rows that are read.

        Args:
            layers: [L, B, T, T].
            rows: Boolean [B, T].

        Returns:
            [B, T, T]; the rows asked for sum to 1, the others are 0.
        """
        flows = torch.zeros_like(layers[0])
        for row, query in rows.nonzero().tolist():
            flows[row, query] = _flow(layers[:, row], query)
        return normalised(flows)


def _flow(layers: Tensor, query: int) -> Tensor:
    """Return the maximum flow from a query to every input token, [T]."""
    networkx = _require_networkx()
    n_layers, length = layers.shape[:2]
    graph = networkx.DiGraph()
    for layer, above, below in layers.nonzero().tolist():
        capacity = float(layers[layer, above, below])
        graph.add_edge((layer + 1, above), (layer, below), capacity=capacity)
    source = (n_layers, query)
    flows = [
        networkx.maximum_flow_value(graph, source, (0, token))
        if (0, token) in graph
        else 0.0
        for token in range(length)
    ]
    return layers.new_tensor(flows)


def _require_networkx() -> Any:
    try:
        import networkx
    except ImportError as error:
        raise ArgumentError(
            "method='attention_flow' solves maximum-flow problems with networkx, which "
            'is not installed: pip install "lrp_hooks[flow]".'
        ) from error
    return networkx


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
        return rollout(layers + _identity(layers))

    def _read(
        self, recorded: Recorded, maps: list[Tensor], gradients: list[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        if not is_encoder_decoder(self.model):
            return super()._read(recorded, maps, gradients)
        weighed = [self.layer(*pair) for pair in zip(maps, gradients, strict=True)]
        n_encoder = _count_in_encoder(self.model, recorded)
        encoder, decoder = weighed[:n_encoder], weighed[n_encoder:]
        layers = torch.stack(encoder)
        joint = _across(self.joint(layers, layers), decoder)
        rows = _taken(gradients[-1])
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
    own = _identity(decoder[0]).expand_as(decoder[0])
    joint = torch.zeros_like(decoder[1])
    for number, weighed in enumerate(decoder):
        if number % 2 == 0:
            own, joint = own + weighed @ own, joint + weighed @ joint
        else:
            taken = weighed @ _without_identity(source)
            joint += _without_identity(own).transpose(1, 2) @ taken
    return joint


def _without_identity(relevance: Tensor) -> Tensor:
    """Return rownorm(R - I) + I (eq. 8, 9)."""
    identity = _identity(relevance)
    return normalised(relevance - identity) + identity
