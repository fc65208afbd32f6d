"""Figures that belong to no window, and are pictures in a notebook all the same."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING

from ..support.extras import require
from .colour import LIGHT, NEGATIVE, POSITIVE, Rgb

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

__all__ = ["canvas", "colour_map", "require_matplotlib"]


def require_matplotlib() -> None:
    """Refuse to go on without matplotlib."""
    require("matplotlib", "plot", "plot()")


def canvas(width: float, height: float) -> Figure:
    """Make an empty figure.

    Args:
        width: In inches.
        height: In inches.

    Returns:
        The figure; a notebook shows it, whatever its settings.
    """
    require_matplotlib()
    figure: Figure = _shown()(figsize=(width, height), layout="constrained")
    return figure


@cache
def _shown() -> type[Figure]:
    from matplotlib.figure import Figure

    class Shown(Figure):
        """A figure that notebooks know how to show."""

        def _repr_png_(self) -> bytes:  # noqa: PLW3201 (notebooks look for it)
            buffer = io.BytesIO()
            self.savefig(buffer, format="png")
            return buffer.getvalue()

    return Shown


def colour_map(*stops: Rgb) -> Colormap:
    """Make a colour map.

    Args:
        *stops: The colours that it goes through. Defaults to those of the diverging
            scale.

    Returns:
        A map of matplotlib's.
    """
    from matplotlib.colors import LinearSegmentedColormap

    through = stops or (NEGATIVE, LIGHT, POSITIVE)
    shares = [[part / 255 for part in stop] for stop in through]
    return LinearSegmentedColormap.from_list("relevance", shares)
