"""What several methods say of one picture: their maps beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..support.text import decimals, signed, visible
from ..views.comparison import Maps
from .canvas import canvas
from .document import isolated
from .explanation_html import heat_html, seen_html
from .explanation_text import picture_lines
from .glyphs import fonts, written
from .pictures import pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["maps_figure", "maps_html", "maps_text"]

SIDE, LEAST_SIDE = 2.2, 1.1  # inches of a map in a figure


def maps_html(maps: Maps) -> str:
    """Write maps beside each other, behind the picture where it is known.

    Args:
        maps: What each method says of it, and its scale.

    Returns:
        A part of a `styled` fragment.
    """
    image = _image(maps)
    shown = "" if image is None else _captioned("explained", seen_html(image))
    for label, (picture, scale) in maps.items():
        places = decimals(scale)
        name = f"{isolated(label)} up to {signed(scale, places)}"
        shown += _captioned(name, heat_html(picture, scale, places))
    return f'<div class="maps">{shown}</div>'


def maps_text(maps: Maps, width: int | None) -> list[str]:
    """Write maps below each other for a terminal.

    Args:
        maps: What each method says of the picture, and its scale.
        width: Columns of a coloured map; None for one line of numbers for each.

    Returns:
        Lines.
    """
    lines: list[str] = []
    for label, (picture, scale) in maps.items():
        name = f"{visible(label)}  up to {signed(scale, decimals(scale))}"
        lines += [name, *picture_lines(picture, scale, width), ""]
    return lines[:-1]


def maps_figure(
    examples: Sequence[tuple[str, Maps]], width: float | None = None
) -> Figure:
    """Draw maps beside each other, a row for each example.

    Args:
        examples: What is explained of each, and what each method says of it.
        width: Inches that it may take; maps go on below where that is too little.

    Returns:
        A figure that belongs to no window.
    """
    rows = [_titled(target, maps) for target, maps in examples]
    columns, side = max(map(len, rows)), SIDE
    if width is not None:
        columns = min(columns, max(1, int(width / LEAST_SIDE)))
        side = min(SIDE, width / columns)
    lines = [row[n : n + columns] for row in rows for n in range(0, len(row), columns)]
    drawn = canvas(side * columns, (side + 0.5) * len(lines))
    grid: Any = drawn.subplots(len(lines), columns, squeeze=False)
    for line, axes in zip(lines, grid, strict=True):
        for at in axes[len(line) :]:
            at.axis("off")
        for at, (title, image) in zip(axes, line, strict=False):
            _draw(at, image, title)
    return drawn


def _titled(target: str, maps: Maps) -> list[tuple[str, Any]]:
    """Return an example's picture, if it is known, and its maps, each with a title."""
    image = _image(maps)
    seen = [] if image is None else [(target, image.numpy())]
    return seen + [
        (
            f"{label}\nup to {signed(scale, decimals(scale))}",
            pixels(picture.scores, scale, picture.image).numpy(),
        )
        for label, (picture, scale) in maps.items()
    ]


def _draw(axes: Any, image: Any, title: str) -> None:
    axes.imshow(image)
    axes.axis("off")
    lines = "\n".join(map(written, title.split("\n")))
    font = fonts("sans-serif")
    axes.set_title(lines, family=font, fontsize=8, parse_math=False)


def _image(maps: Maps) -> Any:
    """Return the picture that all of them explain, if it is known."""
    return next(iter(maps.values()))[0].image


def _captioned(caption: str, shown: str) -> str:
    return f'<figure><figcaption class="soft">{caption}</figcaption>{shown}</figure>'
