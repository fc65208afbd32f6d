"""Heat maps of texts and images, and ledgers, as figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

__all__ = ["explanation_figure"]

Part = Strip | Picture | Account

WIDTH = 9.0  # inches
COLUMNS = 72
FONT_SIZE = 10.5  # which fills the columns of a figure with a ledger
LINE_HEIGHT = 0.28  # inches
BAR_HEIGHT = 0.19
MOST_LINES = 2000  # a figure of more than 65,536 pixels cannot be drawn


def explanation_figure(views: Sequence[View]) -> Figure:
    """Draw explanations below each other.

    Args:
        views: What there is to show, each with its own scale.

    Returns:
        A figure that belongs to no window, with one panel for each tensor that was
        read of each example and one colour bar for each, and the ledger below them.

    Raises:
        ArgumentError: If there are more lines than a figure can hold.
    """
    require_matplotlib()

    panels = [panel for view in views for panel in _panels(view)]
    heights = [_height(part) for _, _, part in panels]
    if sum(heights) > MOST_LINES * LINE_HEIGHT:
        raise ArgumentError(
            f"the explanations fill {sum(heights) / LINE_HEIGHT:.0f} lines, more than "
            f"the {MOST_LINES} that a figure can hold. Draw fewer, or use to_html()."
        )
    drawn = canvas(WIDTH, sum(heights))
    grid: Any = drawn.subplots(
        len(panels), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axes, (shown, example, part) in zip(grid[:, 0], panels, strict=True):
        _draw(axes, shown, example, part)
    return drawn


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


def _height(part: Part) -> float:
    """Return a panel's height in inches."""
    if isinstance(part, Picture):
        return 3.5
    if isinstance(part, Account):
        return (len(part.groups) + 3.0) * BAR_HEIGHT
    return (len(_lines(part)) + 2.5) * LINE_HEIGHT


def _draw(axes: Any, shown: View, example: Example, part: Part) -> None:
    """Draw one panel: a ledger, or scores with their title and their colour bar."""
    if isinstance(part, Account):
        _balance(axes, part, example)
    else:
        _map(axes, shown, example, part)


def _balance(axes: Any, account: Account, example: Example) -> None:
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
    axes.spines[["top", "right", "left"]].set_visible(False)


def _map(axes: Any, shown: View, example: Example, part: Strip | Picture) -> None:
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
        _axis(axes, part)
    else:
        _write(axes, part, shown.scale)
    words = [
        part.name,
        example.target,
        signed(example.output, example.places),
        shown.method,
        "" if example.delta is None else f"convergence delta {example.delta:+.1e}",
    ]
    title = "   ".join(written(word) for word in words if word)
    axes.set_title(
        title, loc="left", family=fonts("sans-serif"), fontsize=9, parse_math=False
    )
    axes.figure.colorbar(mapping, ax=axes, pad=0.01)


def _axis(axes: Any, picture: Picture) -> None:
    """Write a time axis below a sound; other pictures have none."""
    if not picture.ticks or picture.image is None:
        axes.axis("off")
        return
    width, last = picture.image.shape[1], len(picture.ticks) - 1
    places = [width * number / last - 0.5 for number in range(last + 1)]
    axes.set_yticks([])
    axes.set_xticks(places, list(picture.ticks), fontsize=8, parse_math=False)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)


def _lines(strip: Strip) -> list[list[int]]:
    """Return the positions of the tokens of each line."""
    return flow([written(token) for token in strip.tokens], COLUMNS, strip.breaks)


def _side_by_side(picture: Picture, scale: float) -> Any:
    """Return the picture and, right of it, the scores over it."""
    assert picture.image is not None
    heat = pixels(picture.scores, scale, picture.image)
    if picture.ticks:
        return heat.numpy()
    gap = torch.full_like(heat[:, : max(1, heat.shape[1] // 20)], 255)
    return torch.cat([picture.image, gap, heat], 1).numpy()


def _write(axes: Any, strip: Strip, scale: float) -> None:
    """Write the tokens in lines, each on its colour, the way they are read."""
    tokens = [written(token) for token in strip.tokens]
    words = (t for t, s in zip(tokens, strip.special, strict=True) if not s)
    backwards = reading_direction(words) == "rtl"
    lines = _lines(strip)
    ends = (COLUMNS, 0) if backwards else (0, COLUMNS)
    axes.set(xlim=ends, ylim=(max(len(lines), 1), 0))
    axes.axis("off")
    for row, line in enumerate(lines):
        column = 0.0
        for t in line:
            background = rgb(level(strip.scores[t], scale))
            axes.text(
                column,
                row + 0.5,
                tokens[t],
                parse_math=False,  # a dollar sign is a dollar sign
                ha="right" if backwards else "left",
                va="center",
                family=fonts(),
                fontsize=FONT_SIZE,
                alpha=0.6 if strip.special[t] else 1.0,
                color=[c / 255 for c in ink(background)],
                bbox={
                    "facecolor": [c / 255 for c in background],
                    "edgecolor": "none",
                    "pad": 1.5,
                },
            )
            column += cell_width(tokens[t]) + 1
