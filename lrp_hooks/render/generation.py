"""What each generated token drew on: in a terminal, and as a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError
from ..support.text import cell_width, decimals, signed, visible
from ..views.generation import Matrix
from .canvas import canvas, colour_map, require_matplotlib
from .colour import ansi
from .colour import level as level_of
from .generation_page import fragment
from .glyphs import fonts, written
from .layout import flow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure", "fragment", "terminal"]

MOST_CELLS = 4_000_000
"""Of a matrix: more are not to be told apart in a figure."""


def terminal(shown: Matrix, colour: bool, width: int) -> str:
    """Write for a terminal.

    Args:
        shown: What there is to show.
        colour: True for a heat map of all earlier tokens, false for the strongest ones
            with their numbers.
        width: Columns to wrap the heat map at.

    Returns:
        Lines of text, without a newline at the end.
    """
    lines = []
    for t, target in enumerate(shown.targets):
        lines.append(f"{visible(target)}  {signed(shown.output[t], 4)}")
        lines += [*(_heat(shown, t, width) if colour else _numbers(shown, t)), ""]
    return "\n".join(lines).rstrip("\n")


def _heat(shown: Matrix, t: int, width: int) -> list[str]:
    """Return the tokens before a generated one, wrapped, each on its colour."""
    row, scale = shown.scores[t].tolist(), shown.scales[t]
    tokens = [visible(token) for token in shown.tokens[: shown.seen[t]]]
    return [
        " ".join(
            ansi(tokens[c], level_of(row[c], scale), dim=shown.special[c]) for c in line
        )
        for line in flow(tokens, width, shown.breaks[: len(tokens)])
    ]


def _numbers(shown: Matrix, t: int) -> list[str]:
    """Return the strongest tokens, what the others have, and what constants have."""
    strongest = [(visible(n), v) for n, v in shown.strongest(t)]
    terms = list(strongest)
    if shown.seen[t] > len(strongest):
        others = shown.inputs[t] - sum(score for _, score in strongest)
        terms.append(("(other tokens)", others))
    if shown.constants is not None:
        terms.append(("(constants)", shown.constants[t]))
    column = max(cell_width(name) for name, _ in terms)
    places = decimals(max(abs(score) for _, score in terms))
    return [
        f"  {name}{' ' * (column - cell_width(name))}  {signed(score, places)}"
        for name, score in terms
    ]


def figure(shown: Matrix) -> Figure:
    """Draw the matrix: generated tokens are rows, all tokens are columns.

    Args:
        shown: What there is to show.

    Returns:
        A figure that belongs to no window.

    Raises:
        ArgumentError: If there are more cells than a figure can show.
    """
    require_matplotlib()
    rows, columns = shown.scores.shape
    if rows * columns > MOST_CELLS:
        raise ArgumentError(
            f"the matrix has {rows * columns} cells, more than the {MOST_CELLS} that a "
            "figure can show. Explain fewer tokens, or use to_html()."
        )
    scale = max(shown.scales) or 1.0
    size = (2 + min(columns, 120) * 0.22, 1.6 + min(rows, 120) * 0.22)
    drawn = canvas(*size)
    axes = drawn.subplots()
    image = axes.imshow(
        shown.scores.numpy(),
        aspect="auto",
        interpolation="nearest",
        cmap=colour_map(),
        vmin=-scale,
        vmax=scale,
    )
    _name_ticks(axes.xaxis, shown.tokens, rotation=90)
    _name_ticks(axes.yaxis, shown.targets, rotation=0)
    for end in {shown.encoder, shown.prompt} - {0}:
        axes.axvline(end - 0.5, color="grey", linewidth=0.8)
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
