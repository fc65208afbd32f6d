"""What several methods say of one picture: their maps beside each other.

Those of videos and sounds are strips, which stand below each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..support.text import both_signs, decimals, visible
from ..views.comparison import Maps
from ..views.explanation import Picture
from .canvas import canvas
from .document import isolated
from .explanation_figure import time_axis
from .explanation_html import heat_html, seen_html, ticks_html
from .explanation_text import picture_lines
from .glyphs import fonts, written
from .pictures import pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["maps_figure", "maps_html", "maps_text"]

SIDE, LEAST_SIDE = 2.2, 1.1  # inches of a map in a figure
TITLE_LINE, MARGIN = 0.16, 0.18  # inches of a line above a map, and around both
LONG, STRIP = 2.0, 7.0  # how much wider than high a strip is; inches that it takes


def maps_html(maps: Maps) -> str:
    """Write maps beside each other, behind the picture where it is known.

    Args:
        maps: What each method says of it, and its scale.

    Returns:
        A part of a `styled` fragment.
    """
    image = _seen(maps)
    shown = "" if image is None else _captioned("explained", seen_html(image))
    for label, (picture, scale) in maps.items():
        places = decimals(scale)
        name = f"{isolated(label)} up to {both_signs(scale)}"
        heat = heat_html(picture, scale, places) + ticks_html(picture.ticks)
        shown += _captioned(name, heat)
    return f'<div class="maps{" strips" * _are_strips(maps)}">{shown}</div>'


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
        name = f"{visible(label)}  up to {both_signs(scale)}"
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
    rows = [_panels(target, maps) for target, maps in examples]
    if any(_are_strips(maps) for _, maps in examples):
        return _strips([panel for row in rows for panel in row], width or STRIP)
    columns, side = max(map(len, rows)), SIDE
    if width is not None:
        columns = min(columns, max(1, int(width / LEAST_SIDE)))
        side = min(SIDE, width / columns)
    lines = [row[n : n + columns] for row in rows for n in range(0, len(row), columns)]
    head = MARGIN + TITLE_LINE * max(panel.title_lines for row in rows for panel in row)
    drawn = canvas(side * columns, (side + head) * len(lines))
    grid: Any = drawn.subplots(len(lines), columns, squeeze=False)
    for line, axes in zip(lines, grid, strict=True):
        for at in axes[len(line) :]:
            at.axis("off")
        for at, panel in zip(axes, line, strict=False):
            panel.draw(at)
    return drawn


@dataclass(frozen=True)
class _Panel:
    """A map, or the picture that all of them explain.

    Attributes:
        title: What stands above it.
        image: What is drawn.
        picture: The map, for its time axis.
    """

    title: str
    image: Any
    picture: Picture

    @property
    def title_lines(self) -> int:
        """How many lines stand above it."""
        return self.title.count("\n") + 1

    def draw(self, axes: Any, align: str = "center") -> None:
        """Draw it with its title."""
        axes.imshow(self.image)
        axes.set_anchor("S")  # what room there is stands above, with the title
        time_axis(axes, self.picture)
        lines = "\n".join(map(written, self.title.split("\n")))
        font = {"family": fonts("sans-serif"), "fontsize": 8, "parse_math": False}
        axes.set_title(lines, loc=align, **font)


def _strips(panels: Sequence[_Panel], width: float) -> Figure:
    """Draw maps below each other, each as wide as the figure."""
    sizes = [(p, p.image.shape[0] / p.image.shape[1]) for p in panels]
    high = [width * ratio + 0.28 + TITLE_LINE * p.title_lines for p, ratio in sizes]
    drawn = canvas(width, sum(high))
    ratios = {"height_ratios": high}
    grid: Any = drawn.subplots(len(panels), squeeze=False, gridspec_kw=ratios)
    for axes, panel in zip(grid[:, 0], panels, strict=True):
        panel.draw(axes, align="left")
    return drawn


def _panels(target: str, maps: Maps) -> list[_Panel]:
    """Return an example's picture, if it is shown alone, and its maps."""
    image, first = _seen(maps), next(iter(maps.values()))[0]
    seen = [] if image is None else [_Panel(target, image.numpy(), first)]
    heads = ["" if seen or not target else f"{target}\n", *[""] * len(maps)]
    return seen + [
        _Panel(
            f"{head}{label}\nup to {both_signs(scale)}",
            pixels(picture.scores, scale, picture.image).numpy(),
            picture,
        )
        for head, (label, (picture, scale)) in zip(heads, maps.items(), strict=False)
    ]


def _seen(maps: Maps) -> Any:
    """Return the picture that all explain, if it is known; a sound lies under each."""
    first = next(iter(maps.values()))[0]
    return None if first.ticks else first.image


def _are_strips(maps: Mapping[str, tuple[Picture, float]]) -> bool:
    """Tell maps that are much wider than high, or go on in time."""
    first = next(iter(maps.values()))[0]
    height, width = first.scores.shape
    return bool(first.ticks) or width > LONG * height


def _captioned(caption: str, shown: str) -> str:
    return f'<figure><figcaption class="soft">{caption}</figcaption>{shown}</figure>'
