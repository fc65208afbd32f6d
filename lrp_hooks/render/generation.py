"""What each generated token drew on: in a terminal, and as a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..support.text import cell_width, decimals, signed, visible
from ..views.generation import Matrix
from .colour import ansi
from .colour import level as level_of
from .generation_page import fragment
from .heat_map import heat_map
from .layout import flow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure", "fragment", "terminal"]


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
    for t, target in enumerate(shown.told):
        lines.append(f"{visible(target)}  {signed(shown.output[t], 4)}")
        lines += [*(_heat(shown, t, width) if colour else _numbers(shown, t)), ""]
    return "\n".join(lines).rstrip("\n")


def _heat(shown: Matrix, t: int, width: int) -> list[str]:
    """Return the tokens before a generated one, wrapped, each on its colour."""
    row, scale = shown.scores[t].tolist(), shown.scales[t]
    tokens = [visible(token) for token in shown.texts[: shown.seen[t]]]
    return [
        " ".join(
            ansi(tokens[c], level_of(row[c], scale), dim=shown.special[c]) for c in line
        )
        for line in flow(tokens, width, shown.breaks[: len(tokens)])
    ]


def _numbers(shown: Matrix, t: int) -> list[str]:
    """Return the strongest tokens, what the others have, and what constants have."""
    strongest = [(visible(shown.texts[c]), v) for c, v in shown.largest(t)]
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


def figure(shown: Matrix, width: float | None) -> Figure:
    """Draw the matrix: generated tokens are rows, all tokens are columns.

    Args:
        shown: What there is to show.
        width: Inches that it may take.

    Returns:
        A figure that belongs to no window.
    """
    return heat_map(
        *(shown.scores.numpy(), max(shown.scales) or 1.0, shown.told, shown.texts),
        width,
        seen=shown.seen,
        ends=sorted({shown.encoder, shown.prompt} - {0}),
    )
