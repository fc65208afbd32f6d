"""A Transformer encoder as data: blocks, and the head that follows them.

Everything that is frozen (attention weights, the scale of LayerNorm, the slope of an
activation) is kept at its true value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ...engine.autograd import slope
from ...errors import ArgumentError, UnsupportedModelError

__all__ = [
    "Activation",
    "Block",
    "Encoder",
    "Linear",
    "Mean",
    "Norm",
    "Select",
    "Step",
]


@dataclass(frozen=True)
class Linear:
    """y = W x + b.

    Attributes:
        weight: [out, in].
        bias: [out], or None.
    """

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the layer, bias included."""
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True)
class Norm:
    """LayerNorm: y = gain * (x - mean(x)) + bias.

    Attributes:
        x: Its true input, [..., T, D].
        weight: [D], or None.
        bias: [D], or None.
        eps: What is added to the variance.
    """

    x: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float

    def gain(self, tokens: slice) -> Tensor:
        """Return the frozen scale, weight / sqrt(var(x) + eps).

        Args:
            tokens: Of which tokens of one example.

        Returns:
            ``[tokens, D]``.
        """
        x = self.x[tokens]
        scale = (x.var(-1, unbiased=False, keepdim=True) + self.eps).rsqrt()
        return scale.expand(x.shape) if self.weight is None else scale * self.weight

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise other vectors, [..., D], by their own scale."""
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)


@dataclass(frozen=True)
class Activation:
    """An element-wise f with f(0) = 0.

    Attributes:
        function: f.
        x: Its true input, [..., T, F].
    """

    function: Callable[[Tensor], Tensor]
    x: Tensor

    def line(self, kind: str) -> tuple[Tensor, Tensor | None]:
        """Return the line that stands for f at ``x``.

        Args:
            kind: ``"secant"`` for m = f(x)/x (the paper's zero-offset approximation),
                ``"tangent"`` for m = f'(x) (its linear approximation).

        Returns:
            The slope m, and the offset f(x) - m x of a tangent; both as ``x``.
        """
        with torch.enable_grad():
            x = self.x.detach().requires_grad_()
            y = self.function(x)
            if kind == "secant":
                return slope(x, y), None
            (m,) = torch.autograd.grad(y.sum(), x)
        return m, (y - m * x).detach()


@dataclass(frozen=True)
class Select:
    """Takes one token.

    Attributes:
        index: Its position.
    """

    index: int


@dataclass(frozen=True)
class Mean:
    """Averages all tokens."""


Step = Linear | Norm | Activation | Select | Mean


@dataclass(frozen=True)
class Block:
    """One encoder layer: attention and a feed-forward network, with residuals.

    Attributes:
        name: The qualified name of the module that called the residual sum.
        x: The true input, [..., T, D].
        norm0: The normalisation before attention in a pre-LN block, else None.
        weights: Returns an example's attention weights, [H, T, T].
        value: The value projection.
        output: The projection after attention.
        norm1: The normalisation between attention and the feed-forward network.
        up: The first linear layer of the feed-forward network.
        activation: Its activation.
        down: Its second linear layer.
        norm2: The normalisation after the second sum in a post-LN block, else None.
    """

    name: str
    x: Tensor
    norm0: Norm | None
    weights: Callable[..., Tensor]
    value: Linear
    output: Linear
    norm1: Norm
    up: Linear
    activation: Activation
    down: Linear
    norm2: Norm | None

    @property
    def attention_bias(self) -> Tensor | None:
        """W_O b_V + b_O, [D]: the rows of the attention weights sum to 1."""
        biases = [self.output.bias]
        if self.value.bias is not None:
            biases.append(self.output.weight @ self.value.bias)
        present = [bias for bias in biases if bias is not None]
        return sum(present[1:], present[0]) if present else None


@dataclass(frozen=True)
class Encoder:
    """What lies between the tensor that is read and the logits.

    Attributes:
        x: What is read, [B, T, E]; of one example [T, E].
        stem: What is done to each token before the first block.
        blocks: The layers.
        head: What is done after the last block.
        logits: [B, C]; of one example [C].
    """

    x: Tensor
    stem: tuple[Step, ...]
    blocks: tuple[Block, ...]
    head: tuple[Step, ...]
    logits: Tensor

    def example(self, row: int, positions: Tensor) -> Encoder:
        """Cut out one example, without padding.

        Args:
            row: Which one.
            positions: The positions of its tokens, [n].

        Returns:
            An encoder whose tensors have no batch dimension.

        Raises:
            ArgumentError: If it has no tokens.
            UnsupportedModelError: If the head averages padding.
        """

        def cut(value: Tensor) -> Tensor:
            return value[row, positions] if value.ndim == 3 else value[row, None]

        if not len(positions):
            raise ArgumentError(f"inputs has no attended token in example {row}.")
        is_padded = len(positions) < self.x.shape[1]
        if is_padded and any(isinstance(step, Mean) for step in self.head):
            raise UnsupportedModelError(
                f"the model's head averages example {row} together with its padding; "
                "pass it without padding."
            )

        def weights(block: Block) -> Callable[..., Tensor]:
            return lambda: _among(block, row, positions)

        blocks = tuple(
            replace(_cut(block, cut), weights=weights(block)) for block in self.blocks
        )
        stem = tuple(_cut(step, cut) for step in self.stem)
        head = tuple(
            Select(_index(step.index, positions, self.x.shape[1]))
            if isinstance(step, Select)
            else _cut(step, cut)
            for step in self.head
        )
        return Encoder(cut(self.x), stem, blocks, head, self.logits[row])


def _among(block: Block, row: int, positions: Tensor) -> Tensor:
    """Return an example's attention weights between its own tokens.

    Raises:
        UnsupportedModelError: If they attend to padding.
    """
    weights = block.weights(example=row)[:, positions[:, None], positions]
    if float(weights.sum(-1).min()) < _WHOLE:
        raise UnsupportedModelError(
            f"tokens of example {row} attend to padding in {block.name}, so the "
            "example cannot be decomposed by itself; pass it without padding."
        )
    return weights


_WHOLE = 0.999
"""What weights that sum to 1 may fall short of it by rounding in half precision."""


def _index(index: int, positions: Tensor, length: int) -> int:
    """Return where a position is among those kept."""
    found = (positions == index % length).nonzero().flatten().tolist()
    if not found:
        raise ArgumentError(
            f"the model's head takes token {index}, which the attention mask hides; "
            "pad on the other side (tokenizer.padding_side)."
        )
    return int(found[0])


T = TypeVar("T")


def _cut(part: T, cut: Callable[[Tensor], Tensor]) -> T:
    """Apply ``cut`` to every ``x`` in a step or block."""
    if not is_dataclass(part):
        return part
    values = {f.name: getattr(part, f.name) for f in fields(part)}
    changed = {name: _cut(value, cut) for name, value in values.items()}
    if isinstance(values.get("x"), Tensor):
        changed["x"] = cut(values["x"])
    return replace(part, **changed)  # type: ignore[type-var]
