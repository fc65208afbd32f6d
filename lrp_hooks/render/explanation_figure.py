"""Heat maps of texts and images, and ledgers, as figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ArgumentError
from ..support.text import cell_width, reading_direction, signed, visible
from ..views.explanation import Account, Example, Picture, Strip, View
from .canvas import canvas, colour_map, require_matplotlib
from .colour import NEGATIVE, POSITIVE, ink, level, rgb
from .glyphs import fonts, written
from .layout import flow
from .pictures import pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["explanation_figure", "time_axis"]

Part = Strip | Picture | Account

WIDTH = 9.0  # inches
NARROW = 6.0  # inches below which nothing stands beside the text
BAR_HEIGHT = 0.19
TITLE_HEIGHT = 0.17
MOST_LINES = 2000  # a figure of more than 65,536 pixels cannot be drawn


@dataclass(frozen=True)
class _Paper:
    """What a figure of some width has room for.

    Attributes:
        width: In inches.
    """

    width: float

    @property
    def narrow(self) -> bool:
        """Whether ledger and colour bar stand below the text, not beside it."""
        return self.width < NARROW

    @property
    def font(self) -> float:
        """Points of a token."""
        return 8.0 if self.narrow else 10.5

    @property
    def line(self) -> float:
        """Inches of a line."""
        return 0.22 if self.narrow else 0.28

    @property
    def columns(self) -> int:
        """How many letters of a token's font a line has."""
        beside = 0.25 if self.narrow else 1.8  # names of the ledger, the colour bar
        inches = (7.2 / 72) * self.font / 10.5
        return int((self.width - beside) / inches + 1e-6)

    def lines(self, strip: Strip) -> list[list[tuple[int, str]]]:
        """Return the tokens of each line, of long ones a part, each with its number."""
        parts, breaks = [], []
        for t, token in enumerate(strip.texts):
            for n, part in enumerate(_cut(written(token), self.columns)):
                parts.append((t, part))
                breaks.append(0 if n else strip.breaks[t])
        found = flow([part for _, part in parts], self.columns, breaks)
        return [[parts[i] for i in line] for line in found]

    def title(self, shown: View, example: Example, part: Strip | Picture) -> list[str]:
        """Return what a panel shows, in lines."""
        delta = example.delta
        aside = f"({shown.aside})" if example.told and shown.aside else ""
        words = [
            part.name,
            " ".join(filter(None, [example.told, aside])),
            f"output {signed(example.output, example.places)}",
            shown.method,
            "" if delta is None else f"convergence delta {delta:+.1e}",
        ]
        found = [""]
        room = int(self.width * 12) - 10 * (not self.narrow)
        pieces = [p for word in filter(None, words) for p in wrap(written(word), room)]
        for word in pieces:
            joined = f"{found[-1]}   {word}" if found[-1] else word
            found[-1:] = [joined] if len(joined) <= room else [found[-1], word]
        return [line for line in found if line]

    def height(self, shown: View, example: Example, part: Part) -> float:
        """Return a panel's height in inches."""
        if isinstance(part, Account):
            return (len(part.groups) + 3.0) * BAR_HEIGHT
        more = TITLE_HEIGHT * (len(self.title(shown, example, part)) - 1)
        more += 0.35 * self.narrow  # the colour bar
        if isinstance(part, Picture):
            return min(3.5, 0.55 * self.width) + more
        return (len(self.lines(part)) + 2.5) * self.line + more


def explanation_figure(views: Sequence[View], width: float | None = None) -> Figure:
    """Draw explanations below each other.

    Args:
        views: What there is to show, each with its own scale.
        width: Inches that it may take. Defaults to ``None``: 9.

    Returns:
        A figure that belongs to no window, with one panel for each tensor that was
        read of each example and one colour bar for each, and the ledger below them.

    Raises:
        ArgumentError: If there are more lines than a figure can hold.
    """
    require_matplotlib()

    paper = _Paper(WIDTH if width is None else width)
    panels = [panel for view in views for panel in _panels(view)]
    heights = [paper.height(*panel) for panel in panels]
    if sum(heights) > MOST_LINES * paper.line:
        raise ArgumentError(
            f"the explanations fill {sum(heights) / paper.line:.0f} lines, more than "
            f"the {MOST_LINES} that a figure can hold. Draw fewer, or use to_html()."
        )
    drawn = canvas(paper.width, sum(heights))
    for axes, panel in zip(_axes(drawn, paper, heights), panels, strict=True):
        _draw(axes, paper, *panel)
    return drawn


def _axes(drawn: Any, paper: _Paper, heights: Sequence[float]) -> list[Any]:
    """Return the axes of each panel; in a narrow figure each has all of its width."""
    if not paper.narrow:
        ratios = {"height_ratios": heights}
        grid = drawn.subplots(len(heights), squeeze=False, gridspec_kw=ratios)
        return list(grid[:, 0])
    parts = drawn.subfigures(len(heights), height_ratios=heights, squeeze=False)
    return [part.subplots() for part in parts[:, 0]]


def _panels(shown: View) -> Iterator[tuple[View, Example, Part]]:
    """Yield one panel for each part of each example, and one for its ledger.

    Yields:
        The view, the example and what is drawn.
    """
    for example in shown.examples:
        for part in example.parts:
            yield shown, example, part
        if example.account is not None:
            yield shown, example, example.account


def _cut(token: str, columns: int) -> list[str]:
    """Return a token in parts that fit a line."""
    parts = [""]
    for letter in token:
        if cell_width(parts[-1] + letter) > columns:
            parts.append("")
        parts[-1] += letter
    return parts


def _draw(axes: Any, paper: _Paper, shown: View, example: Example, part: Part) -> None:
    """Draw one panel: a ledger, or scores with their title and their colour bar."""
    if isinstance(part, Account):
        _balance(axes, paper, part, example)
    else:
        _map(axes, paper, shown, example, part)


def _balance(axes: Any, paper: _Paper, account: Account, example: Example) -> None:
    """Draw the terms of the ledger as bars to the left and right of zero."""
    terms = [*account.groups, ("output", example.output)]
    values = [value for _, value in terms]
    places = range(len(terms))
    colours = [POSITIVE if value > 0 else NEGATIVE for value in values]
    axes.barh(places, values, color=[[c / 255 for c in colour] for colour in colours])
    names = [f"{visible(n)}  {signed(value, example.places)}" for n, value in terms]
    axes.set_yticks(places, names, fontsize=8, parse_math=False)
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.axhline(len(terms) - 1.5, color="grey", linewidth=0.8)
    axes.invert_yaxis()
    axes.tick_params(axis="x", labelsize=7)
    axes.locator_params(axis="x", nbins=min(6, int(1.5 * paper.width)))
    axes.spines[["top", "right", "left"]].set_visible(False)


def _map(
    axes: Any, paper: _Paper, shown: View, example: Example, part: Strip | Picture
) -> None:
    """Draw scores with their title and their colour bar."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = shown.scale or 1.0
    colours = colour_map()
    mapping = ScalarMappable(Normalize(-scale, scale), colours)
    if isinstance(part, Picture):
        if part.image is None:
            axes.imshow(part.scores.float().numpy(), norm=mapping.norm, cmap=colours)
        else:
            axes.imshow(_side_by_side(part, shown.scale))
        axes.set_anchor("W")
        time_axis(axes, part)
    else:
        _write(axes, paper, part, shown.scale)
    axes.set_title(
        "\n".join(paper.title(shown, example, part)),
        loc="left",
        family=fonts("sans-serif"),
        fontsize=8 if paper.narrow else 9,
        parse_math=False,
    )
    below = {"orientation": "horizontal", "aspect": 40, "shrink": 0.6, "anchor": (0, 1)}
    where = below if paper.narrow else {}
    bar = axes.figure.colorbar(mapping, ax=axes, pad=0.01, **where)
    if paper.narrow:
        bar.ax.locator_params(axis="x", nbins=4)
    bar.ax.tick_params(labelsize=7)


def time_axis(axes: Any, picture: Picture) -> None:
    """Write a time axis below a sound; other pictures have none.

    Args:
        axes: Where the picture is drawn.
        picture: The picture.
    """
    if not picture.ticks or picture.image is None:
        axes.axis("off")
        return
    width, last = picture.image.shape[1], len(picture.ticks) - 1
    places = [width * number / last - 0.5 for number in range(last + 1)]
    axes.set_yticks([])
    axes.set_xticks(places, list(picture.ticks), fontsize=8, parse_math=False)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)


def _side_by_side(picture: Picture, scale: float) -> Any:
    """Return the picture and, right of it, the scores over it."""
    assert picture.image is not None
    heat = pixels(picture.scores, scale, picture.image)
    if picture.ticks:
        return heat.numpy()
    gap = torch.full_like(heat[:, : max(1, heat.shape[1] // 20)], 255)
    return torch.cat([picture.image, gap, heat], 1).numpy()


def _write(axes: Any, paper: _Paper, strip: Strip, scale: float) -> None:
    """Write the tokens in lines, each on its colour, the way they are read."""
    words = (t for t, s in zip(strip.texts, strip.special, strict=True) if not s)
    backwards = reading_direction(words) == "rtl"
    lines = paper.lines(strip)
    ends = (paper.columns, 0) if backwards else (0, paper.columns)
    axes.set(xlim=ends, ylim=(max(len(lines), 1), 0))
    axes.axis("off")
    for row, line in enumerate(lines):
        column = 0.0
        for t, token in line:
            background = rgb(level(strip.scores[t], scale))
            text = axes.text(
                column,
                row + 0.5,
                token,
                parse_math=False,  # a dollar sign is a dollar sign
                ha="right" if backwards else "left",
                va="center",
                family=fonts(),
                fontsize=paper.font,
                alpha=0.6 if strip.special[t] else 1.0,
                color=[c / 255 for c in ink(background)],
                bbox={
                    "facecolor": [c / 255 for c in background],
                    "edgecolor": "none",
                    "pad": 1.5,
                },
            )
            text.set_in_layout(False)  # else the layout makes the panel narrower
            column += cell_width(token) + 1
