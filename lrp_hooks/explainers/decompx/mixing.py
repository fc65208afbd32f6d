"""Attention over decomposed vectors: tokens are mixed, one source at a time.

sum_h sum_j p_h[i, j] W_O^h W_V^h x[j, k], with the weights p frozen (Modarressi et al.
2023, eq. 3). Mixing between the two projections, where a head is D / H wide, costs H
times less than behind them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .encoder import Block
from .scratch import CHUNK, Scratch

__all__ = ["add_mixed", "add_mixed_bias", "add_mixed_values"]


def add_mixed(
    block: Block, weights: Tensor, x: Tensor, values: Tensor, rows: slice
) -> Tensor:
    """Add attention to the vectors of some tokens.

    Args:
        block: The block.
        weights: Its attention weights, [H, n, n].
        x: The residual stream, [n, K, D]; overwritten where ``rows`` are all.
        values: What values are made of, [n, K, D]; may be ``x`` itself.
        rows: The tokens wanted.

    Returns:
        [rows, K, D].
    """
    if len(x[rows]) < len(x):
        return x[rows] + _mix_first(block, weights[:, rows], values)
    # A source's vectors are read before they are overwritten, and by itself alone.
    scratch = Scratch()
    for sources in torch.arange(x.shape[1]).tensor_split(_parts(x)):
        part = slice(int(sources[0]), int(sources[-1]) + 1)
        x[:, part] += _mix_between(block, weights, values[:, part], scratch)
    return x


def _parts(x: Tensor) -> int:
    n, n_sources = x.shape[:2]
    return -(-n_sources // max(1, CHUNK // n))


def _mix_between(block: Block, weights: Tensor, x: Tensor, scratch: Scratch) -> Tensor:
    """Mix between the value and the output projection."""
    heads, n, n_sources = len(weights), len(x), x.shape[1]
    v = scratch.product("value", x, block.value.weight).view(n, n_sources, heads, -1)
    mixed = weights @ v.permute(2, 0, 1, 3).flatten(2)
    joined = mixed.view(heads, n, n_sources, -1).permute(1, 2, 0, 3).flatten(2)
    return scratch.product("output", joined, block.output.weight)


def _mix_first(block: Block, weights: Tensor, x: Tensor) -> Tensor:
    """Mix before both projections, which is cheaper for few tokens."""
    heads, rows, _ = weights.shape
    n_sources, width = x.shape[1:]
    mixed = (weights.flatten(0, 1) @ x.flatten(1)).view(heads, -1, width)
    v = mixed @ block.value.weight.view(heads, -1, width).transpose(1, 2)
    joined = v.view(heads, rows, n_sources, -1).permute(1, 2, 0, 3).flatten(2)
    return joined @ block.output.weight.T


def add_mixed_values(block: Block, weights: Tensor, v: Tensor, x: Tensor) -> None:
    """Add what each token's value brings to each token, in place.

    Args:
        block: The block.
        weights: Its attention weights, [H, n, n].
        v: The values, [n, D].
        x: [n, K, D]; sum_h p_h[i, k] W_O^h v[k] is added to x[i, k].
    """
    heads, n, _ = weights.shape
    images = v.view(n, heads, -1).transpose(0, 1) @ _by_head(block, heads)  # [H, n, D]
    by_source = x[:, :n].transpose(0, 1)
    by_source.baddbmm_(weights.permute(2, 1, 0), images.transpose(0, 1))


def add_mixed_bias(block: Block, weights: Tensor, x: Tensor, rows: slice) -> None:
    """Let the value's bias follow attention to the token that it was added at.

    Args:
        block: The block.
        weights: Its attention weights, [H, n, n].
        x: [rows, K, D]; overwritten.
        rows: Which tokens these are.
    """
    if block.value.bias is None:
        return
    heads, n, _ = weights.shape
    bias = block.value.bias.view(heads, 1, -1)
    images = (bias @ _by_head(block, heads)).squeeze(1)  # [H, D]
    x[:, :n] += weights[:, rows].permute(1, 2, 0) @ images


def _by_head(block: Block, heads: int) -> Tensor:
    """Return the output projection of each head, [H, D / H, D]."""
    weight = block.output.weight
    return weight.view(len(weight), heads, -1).permute(1, 2, 0)
