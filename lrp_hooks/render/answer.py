"""What an answer drew on: in a terminal, and as a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..support.text import decimals, one_line, signed
from ..views.answer import Cited
from .answer_page import fragment
from .colour import ansi, level
from .heat_map import heat_map

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


def figure(shown: Cited, width: float | None) -> Figure:
    """Draw the matrix: spans are rows, sources are columns.

    Args:
        shown: What there is to show.
        width: Inches that it may take.

    Returns:
        A figure that belongs to no window.
    """
    rows, columns = (
        [one_line(passage.text, QUOTED) for passage in passages]
        for passages in (shown.spans, shown.sources)
    )
    return heat_map(shown.scores, max(shown.scales) or 1.0, rows, columns, width)
