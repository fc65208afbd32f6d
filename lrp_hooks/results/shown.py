"""How a result is looked at: it makes a view, which a renderer shows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from .. import render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Drawn", "Page", "Printed"]


class _Viewed(ABC):
    """A result that can say what there is to show of it."""

    @abstractmethod
    def view(self) -> Any:
        """Collect what there is to show.

        Returns:
            Plain numbers and strings, one of the dataclasses in `lrp_hooks.views`.
        """


class Page(_Viewed):
    """A result that has a page."""

    def to_html(self) -> str:
        """Render a self-contained page, which loads and runs nothing.

        Returns:
            An HTML document; special characters of tokens and labels are escaped.
        """
        return render.page(self.view())

    def _repr_html_(self) -> str:  # noqa: PLW3201 (the name that notebooks look for)
        """Return a fragment for a notebook."""
        return render.fragment(self.view())


class Printed(_Viewed):
    """A result that has a form for terminals."""

    def to_terminal(self, colour: bool | None = None, width: int | None = None) -> str:
        """Render for a terminal.

        Args:
            colour: True for colours, false for numbers alone. Defaults to ``None``:
                colours on a terminal, unless ``NO_COLOR`` is set.
            width: Columns to wrap at. Defaults to the terminal's own.

        Returns:
            Lines of text, without a newline at the end.
        """
        return render.terminal(self.view(), colour=colour, width=width)


class Drawn(_Viewed):
    """A result that has a figure."""

    def plot(self, *, width: float | None = None) -> Figure:
        """Draw what there is to show.

        Args:
            width: Inches that the figure may take, such as 3.3 for a column of a paper:
                texts are wrapped and wide matrices split. Defaults to ``None``: as it
                is read best on a screen.

        Returns:
            A matplotlib figure, registered with no window.
        """
        return render.figure(self.view(), width)
