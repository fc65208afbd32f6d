"""Figures that belong to no window, and are pictures in a notebook all the same."""

from __future__ import annotations

import io
from functools import cache
from numbers import Real
from typing import TYPE_CHECKING

from ..errors import ArgumentError
from ..support.extras import require
from .colour import LIGHT, NEGATIVE, POSITIVE, Rgb

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

__all__ = ["canvas", "check_width", "colour_map", "narrowed", "require_matplotlib"]

NARROWEST, WIDEST = 2.0, 40.0
"""Inches that a figure may be asked to take."""


def require_matplotlib() -> None:
    """Refuse to go on without matplotlib."""
    require("matplotlib", "plot", "plot()")


def check_width(width: float) -> None:
    """Refuse a width that no text can be read in.

    Args:
        width: In inches.

    Raises:
        ArgumentError: If it is none.
    """
    number = isinstance(width, Real) and not isinstance(width, bool)
    if not number or not NARROWEST <= width <= WIDEST:
        raise ArgumentError(
            f"width={width!r} must be a number of inches from {NARROWEST:g} to "
            f"{WIDEST:g}; a column of a paper has about 3.3."
        )


def narrowed(
    size: tuple[float, float], width: float | None, least: float = 0.0
) -> tuple[float, float]:
    """Scale a figure down to a width.

    Args:
        size: Its width and height in inches.
        width: Inches that it may take; None for as many as it likes.
        least: The height that it needs, however narrow it is.

    Returns:
        Both in inches.
    """
    share = 1.0 if width is None else min(1.0, width / size[0])
    return size[0] * share, max(size[1] * share, least)


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
