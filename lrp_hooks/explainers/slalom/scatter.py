"""Value against importance, one point a token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...render.canvas import canvas, colour_map, require_matplotlib
from ...render.glyphs import fonts, written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["scatter"]


def scatter(values: Tensor, importances: Tensor, names: Sequence[str]) -> Figure:
    """Draw what tokens say against how much they are listened to.

    Args:
        values: ``[D]``.
        importances: ``[D]``.
        names: What to write beside each point; equal names at one place are drawn
            once.

    Returns:
        A matplotlib figure, registered with no window.
    """
    require_matplotlib()
    points = {
        (name, float(v), float(s)): None
        for name, v, s in zip(names, values, importances, strict=True)
    }
    x = torch.tensor([v for _, v, _ in points], dtype=torch.float64)
    y = torch.tensor([s for _, _, s in points], dtype=torch.float64)
    scale = float((x * y.exp()).abs().max()) or 1.0
    drawn = canvas(7, 5)
    axes: Any = drawn.subplots()
    axes.axvline(0, color="0.8", zorder=0)
    axes.axhline(0, color="0.8", zorder=0)
    axes.scatter(
        x.numpy(),
        y.numpy(),
        c=(x * y.exp()).numpy(),
        cmap=colour_map(),
        vmin=-scale,
        vmax=scale,
        edgecolors="0.4",
    )
    for name, v, s in points:
        axes.annotate(
            written(name),
            (v, s),
            xytext=(4, 3),
            textcoords="offset points",
            family=fonts("sans-serif"),
            fontsize=8,
            parse_math=False,
        )
    axes.set(xlabel="value", ylabel="importance")
    return drawn
