"""Explanations below each other: on a page, in a terminal, as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..views.explanation import Sheet
from .document import styled
from .explanation_figure import explanation_figure
from .explanation_html import explanation_html
from .explanation_text import explanation_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure", "fragment", "terminal"]


def fragment(sheet: Sheet) -> str:
    """See `render.fragment`."""
    return styled("".join(map(explanation_html, sheet.views)))


def terminal(sheet: Sheet, colour: bool, width: int) -> str:
    """See `render.terminal`."""
    texts = (explanation_text(view, colour, width) for view in sheet.views)
    return "\n\n".join(texts)


def figure(sheet: Sheet, width: float | None) -> Figure:
    """See `render.figure`."""
    return explanation_figure(sheet.views, width)
