"""The forward decomposition: vectors x[i, k] with sum_k x[i, k] = x[i] at every layer.

One buffer [n, K, D], for n tokens and K sources, is carried through the encoder in
place (Modarressi et al. 2023, section 3). Attention mixes tokens source by source, in
the space of the values; everything else works token by token. Both go in chunks, so
that beside the buffer only a few of its rows are held.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .biases import add_bias, shares
from .encoder import Block, Encoder, Linear, Mean, Norm, Select, Step
from .mixing import add_mixed, add_mixed_bias, add_mixed_values
from .scratch import CHUNK, Scratch

__all__ = [
    "Decomposition",
    "Keep",
    "RestOfBlock",
    "Settings",
    "decompose",
    "normalise",
]

Keep = Callable[[int, str, slice, Tensor], None]


@dataclass(frozen=True)
class Settings:
    """What is decomposed, and how.

    Attributes:
        bias: One of `biases.RULES`, or ``"none"``.
        activation: ``"secant"`` or ``"tangent"``.
        value_bias: ``"follow"`` or ``"distribute"``.
        include_ffn: Whether the feed-forward networks take part.
        chunk: How many tokens' vectors are worked on at a time; None to choose.
    """

    bias: str
    activation: str = "secant"
    value_bias: str = "follow"
    include_ffn: bool = True
    chunk: int | None = None


@dataclass
class Decomposition:
    """What a forward decomposition of one example brought.

    Attributes:
        taken: Vectors of what the head takes, one token or the mean of all, [K, D].
        last: Vectors of all tokens after the last block, [n, K, D]; of the taken token
            alone, [1, K, D], where no stage is kept.
        pooled: Vectors that the last linear layer is applied to, [K, D].
        classes: Vectors of the logits, [K, C].
    """

    taken: Tensor
    last: Tensor
    pooled: Tensor
    classes: Tensor


def decompose(
    encoder: Encoder, settings: Settings, keep: Keep | None = None
) -> Decomposition:
    """Decompose one example's hidden states and logits.

    Args:
        encoder: The encoder of one example, without padding.
        settings: What is decomposed, and how.
        keep: Called as ``keep(layer, stage, tokens, vectors)`` with the vectors
            [tokens, K, D] of each stage; they are overwritten afterwards.

    Returns:
        The decomposition.
    """
    x = _start(encoder, settings)
    every = slice(0, len(x))
    for step in encoder.stem:
        x = _apply(step, x, every, settings)
    for layer, block in enumerate(encoder.blocks):
        is_last = layer == len(encoder.blocks) - 1
        rows = _taken(encoder.head, every) if is_last and keep is None else every
        is_first = layer == 0 and not encoder.stem
        follow = layer == 0 and settings.value_bias == "follow"
        noted = partial(keep, layer) if keep else None
        x = _attend(block, x, rows, settings, is_first, follow, noted)
        bias = block.output.bias if follow else block.attention_bias
        _go_on(RestOfBlock(block, bias, settings), x, rows, noted)
    return _through_head(encoder, x, rows, settings)


def _start(encoder: Encoder, settings: Settings) -> Tensor:
    """Return x[i, k] = x[i] where i = k, else 0."""
    n, width = encoder.x.shape
    sources = n + 1 if settings.bias == "token" else n
    x = encoder.x.new_zeros(n, sources, width)
    diagonal = torch.arange(n, device=x.device)
    x[diagonal, diagonal] = encoder.x
    return x


def _taken(head: Sequence[Step], every: slice) -> slice:
    """Return which tokens the head takes."""
    for step in head:
        if isinstance(step, Select):
            return slice(step.index, step.index + 1)
    return every


def _attend(
    block: Block,
    x: Tensor,
    rows: slice,
    settings: Settings,
    is_diagonal: bool,
    follow: bool,
    keep: Callable[..., None] | None,
) -> Tensor:
    """Add attention without biases, in place where ``rows`` are all tokens."""
    weights = block.weights()
    before = x.clone() if keep else x
    if block.norm0 is not None:
        values = x.clone()
        normalise(block.norm0, values, slice(0, len(x)), settings)
        x = add_mixed(block, weights, x, values, rows)
    elif is_diagonal:
        add_mixed_values(block, weights, block.x @ block.value.weight.T, x)
        x = x[rows]
    else:
        x = add_mixed(block, weights, x, x, rows)
    if follow:
        add_mixed_bias(block, weights, x, rows)
    if keep:
        keep("attention", rows, x - before)
    return x


def _go_on(
    rest: RestOfBlock, x: Tensor, rows: slice, keep: Callable[..., None] | None
) -> None:
    """Take some tokens at a time through the rest of a block, in place."""
    size = rest.settings.chunk or max(1, CHUNK // x.shape[1])
    for start in range(0, len(x), size):
        part = x[start : start + size]
        first = rows.start + start
        rest(part, slice(first, first + len(part)), keep)


@dataclass
class RestOfBlock:
    """What follows attention: biases, normalisation and the feed-forward network.

    Attributes:
        block: The block.
        bias: What attention adds, [D], or None.
        settings: What is decomposed, and how.
    """

    block: Block
    bias: Tensor | None
    settings: Settings

    def __post_init__(self) -> None:
        """Take the slopes once for all tokens."""
        block = self.block
        self.slope, self.offset = block.activation.line(self.settings.activation)
        self.scratch = Scratch()
        # Behind the activation and the second layer a bias takes D numbers, not F.
        self.inner: Tensor | None = None
        plain = self.offset is None and self.settings.bias != "none"
        if block.up.bias is not None and plain:
            self.inner = (self.slope * block.up.bias) @ block.down.weight.T

    def __call__(
        self, z: Tensor, tokens: slice, keep: Callable[..., None] | None
    ) -> None:
        """Go on with the vectors of some tokens, in place.

        Args:
            z: Vectors after attention and its residual, [tokens, K, D].
            tokens: Which tokens they are of.
            keep: See `decompose`.
        """
        block, settings = self.block, self.settings
        add_bias(settings.bias, z, self.bias)
        if keep:
            keep("res1", tokens, z)
        inner = z if block.norm2 is not None else z.clone()
        normalise(block.norm1, inner, tokens, settings)
        if keep:
            keep("ln1", tokens, inner)
        if settings.include_ffn:
            branch = self._feed_forward(inner, tokens)
            z += branch
        if keep:
            keep("ffn", tokens, branch if settings.include_ffn else torch.zeros_like(z))
        if keep:
            keep("res2", tokens, z)
        if block.norm2 is not None:
            normalise(block.norm2, z, tokens, settings)
        if keep:
            keep("encoder", tokens, z)

    def _feed_forward(self, z: Tensor, tokens: slice) -> Tensor:
        rule, up, down = self.settings.bias, self.block.up, self.block.down
        slope = self.slope[tokens].unsqueeze(1)
        h = self.scratch.product("up", z, up.weight)
        if self.inner is not None and up.bias is not None:
            parts = shares(rule, h, up.bias)
            h *= slope
            out = self.scratch.product("down", h, down.weight)
            out.addcmul_(parts, self.inner[tokens].unsqueeze(1))
        else:
            add_bias(rule, h, up.bias)
            h *= slope
            add_bias(rule, h, None if self.offset is None else self.offset[tokens])
            out = self.scratch.product("down", h, down.weight)
        add_bias(rule, out, down.bias)
        return out


def _linear(layer: Linear, z: Tensor, rule: str) -> Tensor:
    out = z @ layer.weight.T
    add_bias(rule, out, layer.bias)
    return out


def normalise(norm: Norm, z: Tensor, tokens: slice, settings: Settings) -> None:
    """Apply LayerNorm with its frozen scale to vectors, in place.

    Args:
        norm: The normalisation.
        z: Vectors [tokens, K, D].
        tokens: Which tokens they are of.
        settings: What is decomposed, and how.
    """
    z -= z.mean(-1, keepdim=True)
    z *= norm.gain(tokens).unsqueeze(1)
    add_bias(settings.bias, z, norm.bias)


def _through_head(
    encoder: Encoder, x: Tensor, tokens: slice, settings: Settings
) -> Decomposition:
    last = taken = pooled = x
    for step in encoder.head:
        pooled = x if isinstance(step, Linear) else pooled
        x = _apply(step, x, tokens, settings)
        if isinstance(step, Select | Mean):
            pooled = _apply(step, pooled, tokens, settings)
            taken, tokens = x, slice(0, 1)
    return Decomposition(taken[0], last, pooled[0], x[0])


def _apply(step: Step, x: Tensor, tokens: slice, settings: Settings) -> Tensor:
    """Apply a step outside of the blocks to vectors [tokens, K, D]."""
    if isinstance(step, Linear):
        return _linear(step, x, settings.bias)
    if isinstance(step, Select):
        return x[step.index - tokens.start][None]
    if isinstance(step, Mean):
        return x.mean(0, keepdim=True)
    x = x.clone()
    if isinstance(step, Norm):
        normalise(step, x, tokens, settings)
        return x
    slopes, offsets = step.line(settings.activation)
    x *= slopes[tokens].unsqueeze(1)
    if offsets is not None:
        add_bias(settings.bias, x, offsets[tokens])
    return x
