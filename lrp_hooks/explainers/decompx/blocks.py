"""Reads an encoder's blocks off the tape of one forward pass.

From the logits back to the source, by what was called and not by what modules are
named.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...errors import UnsupportedModelError
from .encoder import Activation, Block, Encoder, Linear, Mean, Norm, Select, Step
from .tape import Node

__all__ = ["SUPPORTED", "read_encoder"]

SUPPORTED = (
    "Vectors are decomposed in encoders of self-attention (softmax and a product, or "
    "fused; not einsum), LayerNorm, linear layers, element-wise activations and "
    "residual sums, post-LN or pre-LN (BERT, RoBERTa, DistilBERT, ELECTRA, MPNet, "
    "XLM-R, ViT), with a head on one token or on the mean of all; no decoders, no "
    "encoder-decoders."
)
"""What can be read off a tape, for messages."""


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
    value = _expect(_unpacked(mix.input), "linear")
    _check_joined(mix, output)
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
        value=_value_part(mix, value),
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


_PARTS = {"move", "__getitem__", "select", "chunk", "split", "unbind", "tensor_split"}


def _unpacked(node: Node) -> Node:
    """Return the projection behind values, which may hold queries and keys as well."""
    while node.kind in _PARTS:
        node = node.input
    return node


def _value_part(mix: Node, packed: Node) -> Linear:
    """Return the rows of a projection that make the values, head by head."""
    # Queries, keys and values may be one after another, or so within each head; the
    # numbers tell.
    if mix.value.ndim != 4:
        raise _wrong(mix, "attention over [B, H, T, D]")
    layer = _linear(packed)
    batch, n_heads, length, size = mix.input.value.shape
    values = mix.input.value.transpose(1, 2).reshape(batch, length, -1)
    for part in _parts_of(len(layer.weight), n_heads, size):
        for laid_out in _layouts(packed.value, batch, length):
            if torch.equal(laid_out[..., part], values):
                bias = None if layer.bias is None else layer.bias[part]
                return Linear(layer.weight[part], bias)
    raise _wrong(mix, "heads that are consecutive parts of the values")


def _parts_of(n_rows: int, n_heads: int, size: int) -> list[slice | Tensor]:
    """List the rows of a projection that may make the values."""
    width = n_heads * size
    if n_rows == width:
        return [slice(None)]  # a view: weights are large
    if n_rows != 3 * width:
        return []
    thirds = [slice(start, start + width) for start in range(0, n_rows, width)]
    by_head = torch.arange(n_rows).view(n_heads, 3, size).transpose(0, 1)
    return [*thirds, *by_head.reshape(3, width)]


def _check_joined(mix: Node, output: Node) -> None:
    """Refuse heads that are not joined in order before the output projection."""
    batch, length = mix.value.shape[0], mix.value.shape[-2]
    joined = mix.value.transpose(1, 2).flatten(2)
    layouts = _layouts(output.input.value, batch, length)
    if not any(torch.equal(joined, laid_out) for laid_out in layouts):
        raise _wrong(output, "heads that are joined in order")


def _layouts(value: Tensor, batch: int, length: int) -> list[Tensor]:
    """Read a tensor as [B, T, D], and as [T, B, D] turned around."""
    if value.numel() % (batch * length):
        return []
    return [
        value.reshape(batch, length, -1),
        value.reshape(length, batch, -1).transpose(0, 1),
    ]


def _linear(node: Node) -> Linear:
    return Linear(node.settings["weight"], node.settings["bias"])


def _norm(node: Node) -> Norm:
    return Norm(node.input.value.detach(), **node.settings)


def _activation(node: Node) -> Activation:
    return Activation(node.settings["function"], node.input.value.detach())


def _wrong(node: Node, wanted: str) -> UnsupportedModelError:
    what = f"{node.module or 'the model'} calls {node.kind!r} where {wanted} was due"
    return UnsupportedModelError(f"{what}. {SUPPORTED}")
