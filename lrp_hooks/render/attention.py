"""Attention maps: an image for each head, and each layer's mean token by token.

Images have one scale, from 0 to 1, on which colour goes by the square root: what is
shared among many tokens leaves little to each. Token by token each query has its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import ArgumentError
from ..support.text import visible
from ..views.attention import Example, Layer, Maps
from . import pointing
from .canvas import canvas, colour_map, narrowed, require_matplotlib
from .colour import LIGHT, POSITIVE
from .document import isolated, styled
from .glyphs import fonts, written
from .pictures import data_url, pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure", "fragment"]

_STYLE = """
.lrp-hooks .maps { display: flex; flex-wrap: wrap; gap: .6em; margin: .6em 0 }
.lrp-hooks .maps figure { margin: 0 }
.lrp-hooks .maps img { display: block; width: 8em; height: 8em }
.lrp-hooks .key img { display: inline-block; width: 5em; height: .9em;
  margin: 0; vertical-align: middle }
.lrp-hooks figcaption { font-size: .8em; color: var(--soft) }
"""
MOST_COLOURED = 150_000
"""Cells that a page shows token by token, so that it stays below some megabytes."""
MOST_PIXELS = 2_000_000
"""Of all images of a page."""
MOST_MAPS = 2000
"""Of a figure."""
SHADES = 64
"""From white to the full colour: fewer are packed more tightly."""


def fragment(maps: Maps) -> str:
    """Write a part of a page.

    Args:
        maps: What there is to show.

    Returns:
        One ``div`` that brings its own style.
    """
    shown = maps.examples
    every = [layer for example in shown for layer in example.layers]
    side = _root(MOST_PIXELS / sum(len(layer.weights) for layer in every))
    most = _root(MOST_COLOURED / len(every))
    body = "".join(
        f"<p>example {b}</p>" * (len(shown) > 1) + _example(example, side, most)
        for b, example in enumerate(shown)
    )
    style = " ".join(_STYLE.split()) + pointing.style()
    return styled(f"<style>{style}</style>{_legend()}{body}")


def figure(maps: Maps, width: float | None) -> Figure:
    """Draw layers by heads for each example.

    Args:
        maps: What there is to show.
        width: Inches that it may take.

    Returns:
        A figure that belongs to no window.

    Raises:
        ArgumentError: If there are more maps than a figure can hold.
    """
    require_matplotlib()
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import PowerNorm

    shown = maps.examples
    heads = max(len(layer.weights) for layer in shown[0].layers)
    count = len(shown) * len(shown[0].layers)
    if count * heads > MOST_MAPS:
        raise ArgumentError(
            f"there are {count * heads} maps, more than the {MOST_MAPS} that a figure "
            "can hold; draw fewer examples or layers, or use to_html()."
        )
    colours = colour_map(LIGHT, POSITIVE)
    mapping = ScalarMappable(PowerNorm(0.5, 0, 1), colours)
    size = (0.8 * heads + 4, 0.8 * count + 0.9 * len(shown))
    drawn = canvas(*narrowed(size, width))
    grid: Any = drawn.subplots(len(shown), squeeze=False)
    for b, example in enumerate(shown):
        _draw(grid[b, 0], example, mapping)
    drawn.colorbar(mapping, ax=grid[:, 0].tolist(), pad=0.01, shrink=0.6)
    return drawn


def _root(share: float) -> int:
    return max(1, math.isqrt(int(share)))


def _legend() -> str:
    # As images: they are the same on dark pages.
    ramp = torch.linspace(0, 1, SHADES)[None].chunk(2, 1)
    low, high = (f'<img alt="to" src="{data_url(pixels(x, 1.0))}">' for x in ramp)
    return (
        f'<p class="soft key">attention weights: 0 {low} 0.25 {high} 1; in each image '
        "queries go down and keys across, from the first token on</p>"
    )


def _example(example: Example, side: int, most: int) -> str:
    """Return all layers, the first one's tokens unfolded."""
    parts = []
    for number, layer in enumerate(example.layers):
        text = ""
        if layer.own and len(example.tokens) <= most:
            text = _text(example, layer, unfolded=number == 0)
        parts.append(
            f'<section><p><span class="soft">layer {number}</span> '
            f"{isolated(layer.module)}</p>{_images(layer, side)}{text}</section>"
        )
    if len(example.tokens) > most and any(layer.own for layer in example.layers):
        parts.insert(
            0,
            f'<p class="soft">{len(example.tokens)} tokens, more than the {most} that '
            "this page has room to show token by token: images alone.</p>",
        )
    return "".join(parts)


def _images(layer: Layer, side: int) -> str:
    """Return the image of each head, smaller where the maps are larger than a side."""
    heads, queries, keys = layer.weights.shape
    small, stride = _pooled(layer.weights, side)
    shades = (small.nan_to_num(0.0).clamp(0, 1).sqrt() * SHADES).round() / SHADES
    images = "".join(
        f'<figure><img alt="head {head}: {queries} queries by {keys} keys" '
        f'src="{data_url(pixels(shades[head], 1.0))}">'
        f"<figcaption>head {head}</figcaption></figure>"
        for head in range(heads)
    )
    note = ""
    if stride > 1:
        note = (
            f'<p class="soft">{queries} queries by {keys} keys: each pixel is the '
            f"largest weight of {stride} x {stride}.</p>"
        )
    return f'{note}<div class="maps">{images}</div>'


def _pooled(weights: Tensor, side: int) -> tuple[Tensor, int]:
    """Return ``[H, Q, K]`` with no side larger than allowed, and how it was thinned."""
    stride = -(-max(weights.shape[1:]) // side)
    if stride == 1:
        return weights, 1
    return F.max_pool2d(weights[:, None], stride, ceil_mode=True)[:, 0], stride


def _text(example: Example, layer: Layer, unfolded: bool) -> str:
    """Return the tokens, each of which shows what it attends to, the mean of heads."""
    weights = layer.weights.mean(0)
    rows = pointing.levels(weights, example.scales(weights), len(weights))
    titles = [
        f"{visible(token)}: "
        + "; ".join(f"{visible(t)} {w:.3f}" for t, w in example.strongest(row))
        + "; ..." * (len(row) > len(example.strongest(row)))
        for token, row in zip(example.tokens, weights, strict=True)
    ]
    told = pointing.text(example.tokens, example.special, titles, rows, example.breaks)
    return (
        f"<details{' open' * unfolded}><summary>token by token</summary>"
        f"<style>{pointing.rules(rows)}</style>"
        '<p class="soft">Point at a token, or step to it with the tab key: the tokens '
        "that it attends to are coloured, the mean over heads, each token on its own "
        f"scale.</p>{told}"
        "</details>"
    )


def _draw(axes: Any, example: Example, mapping: Any) -> None:
    """Draw one example as one picture: a row of maps for each layer."""
    layers = example.layers
    heads = max(len(layer.weights) for layer in layers)
    # Maps of different sizes get cells of one size, with a margin that stays empty.
    height = max(layer.weights.shape[1] for layer in layers)
    width = max(layer.weights.shape[2] for layer in layers)
    down, across = height + max(1, height // 12), width + max(1, width // 12)
    picture = torch.full((down * len(layers), across * heads), torch.nan)
    for row, layer in enumerate(layers):
        for head, weights in enumerate(layer.weights):
            queries, keys = weights.shape
            top, left = row * down, head * across
            picture[top : top + queries, left : left + keys] = weights
    image = picture.numpy()
    axes.imshow(image, norm=mapping.norm, cmap=mapping.cmap, interpolation="nearest")
    axes.set_facecolor("0.85")
    axes.set_xticks(
        [head * across + width / 2 for head in range(heads)],
        [f"head {head}" for head in range(heads)],
        fontsize=7,
    )
    axes.set_yticks(
        [row * down + height / 2 for row in range(len(layers))],
        [f"{row}  {visible(layer.module)}" for row, layer in enumerate(layers)],
        fontsize=7,
        parse_math=False,
    )
    axes.tick_params(length=0)
    axes.set_title(
        _shortened(example.tokens),
        loc="left",
        family=fonts("sans-serif"),
        fontsize=8,
        parse_math=False,
    )


def _shortened(tokens: list[str]) -> str:
    text = " ".join(map(written, tokens))
    return text if len(text) <= 80 else f"{text[:79]}…"
