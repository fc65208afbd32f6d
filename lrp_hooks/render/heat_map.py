"""A matrix of scores as a figure, rows and columns named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError
from .canvas import canvas, colour_map
from .glyphs import fonts, written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["heat_map"]

MOST_CELLS = 4_000_000
"""Of a matrix: more are not to be told apart in a figure."""


def heat_map(
    scores: Any,
    scale: float,
    rows: Sequence[str],
    columns: Sequence[str],
    size: tuple[float, float],
) -> Figure:
    """Draw a matrix.

    Args:
        scores: ``[len(rows), len(columns)]``.
        scale: The score of full colour.
        rows: The names of the rows.
        columns: Those of the columns.
        size: Width and height in inches.

    Returns:
        A figure that belongs to no window; its first axes hold the matrix.

    Raises:
        ArgumentError: If there are more cells than a figure can show.
    """
    cells = len(rows) * len(columns)
    if cells > MOST_CELLS:
        raise ArgumentError(
            f"the matrix has {cells} cells, more than the {MOST_CELLS} that a figure "
            "can show. Explain fewer tokens, or use to_html()."
        )
    drawn = canvas(*size)
    axes = drawn.subplots()
    image = axes.imshow(
        scores,
        aspect="auto",
        interpolation="nearest",
        cmap=colour_map(),
        vmin=-scale,
        vmax=scale,
    )
    _name_ticks(axes.xaxis, columns, rotation=90)
    _name_ticks(axes.yaxis, rows, rotation=0)
    drawn.colorbar(image, ax=axes, pad=0.01)
    return drawn


def _name_ticks(axis: Any, names: Sequence[str], rotation: int) -> None:
    """Write names beside rows or columns, every n-th one if there are many."""
    every = max(1, len(names) // 120)
    places = range(0, len(names), every)
    axis.set_ticks(
        list(places),
        [written(names[place]) for place in places],
        family=fonts("sans-serif"),
        rotation=rotation,
        fontsize=8,
        parse_math=False,  # a dollar sign is a dollar sign
    )
