"""A matrix of scores as a figure, rows and columns named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError
from ..support.text import one_line
from .canvas import canvas, colour_map
from .glyphs import fonts, written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["heat_map"]

MOST_CELLS = 4_000_000
"""Of a matrix: more are not to be told apart in a figure."""
WIDTH = 14.0  # inches
CELL, SMALLEST = 0.22, 0.13  # inches of one with a name, in letters of 8 and 5 points
MOST_NAMES = 120  # beside a panel; of more, every n-th one
MOST_PANELS = 12
LETTER = 0.075  # inches of one of 8 points
BAR = 0.8  # inches of the colour bar with its numbers
LABELS = 0.4  # of the width, at most


def heat_map(
    scores: Any,
    scale: float,
    rows: Sequence[str],
    columns: Sequence[str],
    width: float | None = None,
    *,
    seen: Sequence[int] | None = None,
    ends: Sequence[int] = (),
) -> Figure:
    """Draw a matrix; one that is too wide is split, and goes on below.

    Args:
        scores: ``[len(rows), len(columns)]``.
        scale: The score of full colour.
        rows: The names of the rows.
        columns: Those of the columns.
        width: Inches that it may take. Defaults to ``None``: 14.
        seen: How many columns each row has at all, more from row to row: the panels
            that go on leave out rows that end before. Defaults to ``None``: all.
        ends: Columns before which a line is drawn.

    Returns:
        A figure that belongs to no window; its first axes hold the matrix, or the
        first columns of it.
    """
    _check_cells(len(rows) * len(columns))
    limit = WIDTH if width is None else width
    names = [_short(written(name), LABELS * limit) for name in rows]
    columns = [written(name) for name in columns]
    left = 0.3 + LETTER * max(map(len, names), default=0)
    cell, across = _layout(len(columns), limit - left - BAR)
    starts = range(0, max(len(columns), 1), across)
    firsts = [_first_row(seen, start) for start in starts]
    below = 0.3 + LETTER * cell / CELL * min(max(map(len, columns), default=0), 40)
    heights = [min(len(rows) - first, MOST_NAMES) * cell + below for first in firsts]
    left += BAR + min(across, MOST_NAMES) * cell
    drawn = canvas(min(left, limit), sum(heights) + 0.3)
    grid: Any = drawn.subplots(
        len(heights), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    size = max(5.0, 8.0 * min(cell / 0.2, 1.0))
    for axes, start, first in zip(grid[:, 0], starts, firsts, strict=True):
        part = slice(start, start + across)
        image = _panel(axes, [row[part] for row in scores[first:]], scale)
        axes.set_xlim(-0.5, min(across, len(columns)) - 0.5)
        _name_ticks(axes.xaxis, columns[part], 90, size)
        _name_ticks(axes.yaxis, names[first:], 0, size)
        for end in (end for end in ends if start < end < start + across):
            axes.axvline(end - start - 0.5, color="grey", linewidth=0.8)
    _colour_bar(drawn, image, grid[:, 0].tolist(), sum(heights))
    return drawn


def _check_cells(cells: int) -> None:
    """Refuse a matrix that is too large.

    Raises:
        ArgumentError: If there are more cells than a figure can show.
    """
    if cells > MOST_CELLS:
        raise ArgumentError(
            f"the matrix has {cells} cells, more than the {MOST_CELLS} that a figure "
            "can show. Explain fewer tokens, or use to_html()."
        )


def _panel(axes: Any, part: Any, scale: float) -> Any:
    """Draw some columns."""
    return axes.imshow(
        part,
        aspect="auto",
        interpolation="nearest",
        cmap=colour_map(),
        vmin=-scale,
        vmax=scale,
    )


def _colour_bar(drawn: Any, image: Any, axes: list[Any], height: float) -> None:
    """Draw one colour bar, of a few inches whatever the height of the panels."""
    shrink = min(1.0, 3.5 / height)
    bar = drawn.colorbar(
        image, ax=axes, pad=0.01, shrink=shrink, aspect=25, anchor=(0.0, 1.0)
    )
    bar.ax.tick_params(labelsize=7)


def _layout(columns: int, room: float) -> tuple[float, int]:
    """Return inches of a cell, and how many columns stand beside each other."""
    if columns * CELL <= room:
        return CELL, max(columns, 1)
    if columns * SMALLEST <= room:
        return room / columns, columns
    panels = math.ceil(columns / max(1, int(room / SMALLEST)))
    if panels > MOST_PANELS:  # no name is read in so many
        return SMALLEST, columns
    return SMALLEST, math.ceil(columns / panels)


def _first_row(seen: Sequence[int] | None, start: int) -> int:
    """Return the first row that has columns from there on."""
    if seen is None or start == 0:
        return 0
    rows = (row for row, count in enumerate(seen) if count > start)
    return next(rows, len(seen) - 1)


def _short(name: str, inches: float) -> str:
    """Return a name that leaves the matrix its room."""
    return one_line(name, max(8, int(inches / LETTER))) if name.strip() else name


def _name_ticks(axis: Any, names: Sequence[str], rotation: int, size: float) -> None:
    """Write names beside rows or columns, every n-th one if there are many."""
    every = max(1, len(names) // MOST_NAMES)
    places = range(0, len(names), every)
    axis.set_ticks(
        list(places),
        [names[place] for place in places],
        family=fonts("sans-serif"),
        rotation=rotation,
        fontsize=size,
        parse_math=False,  # a dollar sign is a dollar sign
    )
