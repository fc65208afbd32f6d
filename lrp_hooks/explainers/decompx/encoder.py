"""A Transformer encoder as data: blocks, and the head that follows them.

Read off the tape of one forward pass, from the logits back to the source, so that no
model's module names matter. Everything that is frozen (attention weights, the scale of
LayerNorm, the slope of an activation) is kept at its true value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ...autograd import slope
from ...errors import ArgumentError, UnsupportedModelError
from .tape import Node

__all__ = [
    "SUPPORTED",
    "Activation",
    "Block",
    "Encoder",
    "Linear",
    "Mean",
    "Norm",
    "Select",
    "Step",
    "read_encoder",
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

    @property
    def gain(self) -> Tensor:
        """The frozen scale, weight / sqrt(var(x) + eps), [..., T, D]."""
        variance = self.x.var(-1, unbiased=False, keepdim=True)
        scale = (variance + self.eps).rsqrt()
        if self.weight is None:
            return scale.expand(self.x.shape)
        return scale * self.weight

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


def read_encoder(logits: Node, source: Node) -> Encoder:
    """Read the blocks off a tape.

    Args:
        logits: The node of the logits, [B, C].
        source: The node of what is read.

    Returns:
        The encoder, with all examples of the batch.

    Raises:
        UnsupportedModelError: If something else than an encoder's layers was called;
            the message names the function and the module.
    """  # noqa: DOC501, DOC502 (made by a function)
    blocks: list[Block] = []
    head: list[Step] = []
    steps: list[Step] = []
    node = logits.still()
    while node is not source:
        if node.kind != "sum":
            steps.insert(0, _step(node))
            node = node.input.still()
            continue
        block, node = _block(node, steps)
        if blocks and steps:
            raise _wrong(node, "the next layer")
        head = head if blocks else steps
        blocks.insert(0, block)
        steps = []
    if not blocks:
        raise _wrong(logits, "the end of a layer")
    stem = tuple(steps)
    x, output = source.value.detach(), logits.value.detach()
    return Encoder(x, stem, tuple(blocks), tuple(head), output)


def _step(node: Node) -> Step:
    """Read one step outside of the blocks."""
    if node.kind == "select":
        return Select(node.settings["index"])
    if node.kind == "mean":
        return Mean()
    readers: dict[str, Callable[[Node], Step]] = {
        "linear": _linear,
        "norm": _norm,
        "activation": _activation,
    }
    if node.kind not in readers:
        raise _wrong(node, "a linear layer, norm, activation or residual")
    return readers[node.kind](node)


def _block(end: Node, after: list[Step]) -> tuple[Block, Node]:
    """Read one block from its second residual sum; take its norm from ``after``."""
    down, residual = _branches(end, "activation")
    activation = down.input.still()
    up = _expect(activation.input.still(), "linear")
    norm1 = _expect(up.input.still(), "norm")
    is_post_norm = norm1 is residual
    middle = norm1.input.still() if is_post_norm else residual
    if norm1.input.still() is not middle:
        raise _wrong(norm1, "LayerNorm of the sum before it")
    output, x = _branches(_expect(middle, "sum"), "mix")
    mix = output.input.still()
    value = _expect(mix.input.still(), "linear")
    _check_heads(mix, value, output)
    norm0 = None if value.input.still() is x else _expect(value.input.still(), "norm")
    if norm0 is not None and norm0.input.still() is not x:
        raise _wrong(norm0, "LayerNorm of the layer's input")
    if is_post_norm and not (after and isinstance(after[0], Norm)):
        raise _wrong(end, "LayerNorm after the second sum")
    norm2 = after.pop(0) if is_post_norm else None
    block = Block(
        name=end.module,
        x=x.value.detach(),
        norm0=None if norm0 is None else _norm(norm0),
        weights=mix.settings["weights"],
        value=_linear(value),
        output=_linear(output),
        norm1=_norm(norm1),
        up=_linear(up),
        activation=_activation(activation),
        down=_linear(down),
        norm2=norm2,  # type: ignore[arg-type]
    )
    return block, x


def _branches(end: Node, kind: str) -> tuple[Node, Node]:
    """Tell the branch, a linear layer after ``kind``, from the residual stream."""
    first, second = (node.still() for node in end.inputs)
    for branch, residual in ((first, second), (second, first)):
        if branch.kind == "linear" and branch.input.still().kind == kind:
            return branch, residual
    raise _wrong(end, f"the sum of a residual and a linear layer after {kind!r}")


def _expect(node: Node, kind: str) -> Node:
    if node.kind != kind:
        raise _wrong(node, repr(kind))
    return node


def _check_heads(mix: Node, value: Node, output: Node) -> None:
    """Refuse heads that are not equal parts of the projections, in order."""
    if mix.value.ndim != 4:
        raise _wrong(mix, "attention over [B, H, T, D]")
    batch, n_heads, length = mix.value.shape[:3]
    heads = value.value.reshape(batch, length, n_heads, -1).transpose(1, 2)
    joined = mix.value.transpose(1, 2).flatten(2)
    if not torch.equal(heads, mix.input.value):
        raise _wrong(mix, "heads that are consecutive parts of the values")
    if not torch.equal(joined, output.input.value):
        raise _wrong(output, "heads that are joined in order")


def _linear(node: Node) -> Linear:
    return Linear(node.settings["weight"], node.settings["bias"])


def _norm(node: Node) -> Norm:
    return Norm(node.input.value.detach(), **node.settings)


def _activation(node: Node) -> Activation:
    return Activation(node.settings["function"], node.input.value.detach())


def _wrong(node: Node, wanted: str) -> UnsupportedModelError:
    what = f"{node.module or 'the model'} calls {node.kind!r} where {wanted} was due"
    return UnsupportedModelError(f"{what}. {SUPPORTED}")


SUPPORTED = (
    "Vectors are decomposed in encoders of self-attention, LayerNorm, linear layers, "
    "element-wise activations and residual sums, post-LN or pre-LN (BERT, RoBERTa, "
    "DistilBERT, ELECTRA, MPNet, XLM-R, ViT), with a head on one token or on the mean "
    "of all; no decoders, no encoder-decoders."
)
"""What can be read off a tape, for messages."""
