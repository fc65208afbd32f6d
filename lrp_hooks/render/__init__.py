"""Pages, terminals and figures of plain views; knows no result and no model."""

from __future__ import annotations

import shutil
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..views.answer import Cited
from ..views.attention import Maps
from ..views.circuit import Diagram
from ..views.comparison import SideBySide
from ..views.evaluation import Report
from ..views.explanation import Sheet
from ..views.generation import Matrix
from ..views.layer_flow import Flow
from .canvas import check_width
from .colour import has_colours
from .document import document

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure", "fragment", "page", "terminal"]

_RENDERERS = {
    Cited: "answer",
    Diagram: "circuit",
    Flow: "layer_flow",
    Maps: "attention",
    Matrix: "generation",
    Report: "evaluation",
    Sheet: "explanation",
    SideBySide: "comparison",
}
"""The module that shows each kind of view."""


def page(view: object) -> str:
    """Write a whole document.

    Args:
        view: One of the views that stand in a result's `view`.

    Returns:
        HTML without any control character, line ends included.
    """
    return document(fragment(view))


def fragment(view: object) -> str:
    """Write a part of a page, for notebooks and for pages of others.

    Args:
        view: See `page`.

    Returns:
        One ``div`` that brings its own style.
    """
    return str(_renderer(view).fragment(view))


def terminal(view: object, colour: bool | None = None, width: int | None = None) -> str:
    """Write for a terminal.

    Args:
        view: See `page`.
        colour: True for colours, false for numbers alone. Defaults to ``None``:
            colours on a terminal, unless ``NO_COLOR`` is set.
        width: Columns to wrap at. Defaults to the terminal's own.

    Returns:
        Lines of text, without a newline at the end.
    """
    colour = has_colours() if colour is None else colour
    width = width or shutil.get_terminal_size().columns
    return str(_renderer(view).terminal(view, colour, width))


def figure(view: object, width: float | None = None) -> Figure:
    """Draw with matplotlib.

    Args:
        view: See `page`.
        width: Inches that it may take. Defaults to ``None``: as it is read best.

    Returns:
        A figure that belongs to no window.
    """
    if width is not None:
        check_width(width)
    drawn: Figure = _renderer(view).figure(view, width)
    return drawn


def _renderer(view: object) -> Any:
    """Import what shows a view, when it is to be shown."""
    return import_module(f".{_RENDERERS[type(view)]}", __name__)
