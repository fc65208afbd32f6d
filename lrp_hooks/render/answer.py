"""What an answer drew on: in a terminal, and as a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..support.text import decimals, one_line, signed
from ..views.answer import Cited
from .answer_page import fragment
from .canvas import canvas, colour_map, require_matplotlib
from .colour import ansi, level
from .glyphs import fonts, written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure", "fragment", "terminal"]

QUOTED = 40
"""Characters of a passage beside a figure's cells."""


def terminal(shown: Cited, colour: bool, width: int) -> str:
    """Write for a terminal.

    Args:
        shown: What there is to show.
        colour: Whether sources stand on the colour of their score.
        width: Columns.

    Returns:
        Each span with its strongest sources and, where it is known, what the rest of
        its output came from.
    """
    lines = [f"method  {shown.method}", ""]
    for a, span in enumerate(shown.spans):
        places = decimals(max(shown.scales[a], abs(shown.outputs[a])))
        output = signed(shown.outputs[a], places)
        lines.append(f"{one_line(span.text, max(20, width - 14))}  {output}")
        for s, score in shown.strongest(a):
            number = signed(score, places)
            text = one_line(shown.sources[s].text, max(20, width - len(number) - 4))
            if colour:
                text = ansi(text, level(score, shown.scales[a]))
            lines.append(f"  {number}  {text}")
        if shown.terms is not None:
            parts = [f"{name} {signed(v, places)}" for name, v in shown.terms[a]]
            lines.append(f"  {'; '.join(parts)}")
        lines.append("")
    return "\n".join(lines).rstrip("\n")


def figure(shown: Cited) -> Figure:
    """Draw the matrix: spans are rows, sources are columns.

    Args:
        shown: What there is to show.

    Returns:
        A figure that belongs to no window.
    """
    require_matplotlib()
    rows, columns = len(shown.spans), len(shown.sources)
    wide = 4 + min(columns, 120) * 0.28
    drawn = canvas(wide, 3.2 + min(rows, 120) * 0.28)
    axes = drawn.subplots()
    scale = max(shown.scales) or 1.0
    image = axes.imshow(
        shown.scores,
        aspect="auto",
        interpolation="nearest",
        cmap=colour_map(),
        vmin=-scale,
        vmax=scale,
    )
    _quote(axes.xaxis, [p.text for p in shown.sources], rotation=90)
    _quote(axes.yaxis, [p.text for p in shown.spans], rotation=0)
    drawn.colorbar(image, ax=axes, pad=0.01)
    return drawn


def _quote(axis: Any, texts: list[str], rotation: int) -> None:
    """Write the beginnings of passages beside rows or columns."""
    every = max(1, len(texts) // 120)
    places = range(0, len(texts), every)
    axis.set_ticks(
        list(places),
        [written(one_line(texts[place], QUOTED)) for place in places],
        family=fonts("sans-serif"),
        rotation=rotation,
        fontsize=8,
        parse_math=False,  # a dollar sign is a dollar sign
    )
