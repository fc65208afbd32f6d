"""Curves of several methods as inline SVG, told apart by colour, dashes and numbers.

The colours keep their distance with every common kind of colour blindness, on a light
page and on a dark one; dashes differ from one method to the next; and each line carries
its method's number at the point where it is farthest from the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..support.text import escape

__all__ = ["STYLE", "Panel", "draw", "swatch"]

Point = tuple[float, float]

_LIGHT = ("#0072b2", "#d55e00", "#00805d", "#a8327e", "#8f6a00", "#3c4048")
_DARK = ("#56b4e9", "#ff8a3d", "#35c79b", "#ef9bcf", "#e6c229", "#c8cbd0")
_DASHES = ("", "7 3", "2 2.5", "9 3 2 3", "12 3 2 3 2 3")  # coprime with the colours

LEAST_SPAN = 1e-30  # less is nothing, and has no logarithm at last
_WIDTH, _HEIGHT = 288, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 38


def _variables(colours: Sequence[str]) -> str:
    names = "".join(f"--k{i}:{colour};" for i, colour in enumerate(colours))
    return f".lrp-hooks{{{names}}}"


STYLE = (
    f"{_variables(_LIGHT)}"
    f"@media (prefers-color-scheme:dark){{{_variables(_DARK)}}}"
    ".lrp-hooks .panels{display:flex;flex-wrap:wrap;gap:1em .8em}"
    f".lrp-hooks figure{{margin:0;width:{_WIDTH}px}}"
    ".lrp-hooks svg{overflow:visible;vertical-align:middle}"
    ".lrp-hooks svg text{font-size:11px;fill:var(--soft)}"
    ".lrp-hooks svg .grid{stroke:var(--line);stroke-width:1}"
    ".lrp-hooks svg .k{fill:none;stroke-width:1.8;stroke-linejoin:round}"
    ".lrp-hooks svg .n{font-weight:700;text-anchor:middle;paint-order:stroke;"
    "stroke:var(--bg);stroke-width:4px}"
)
"""The style sheet that charts need."""


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        title: What the lines show, for those who cannot see them.
        x: The label of the horizontal axis.
        y: The label of the vertical axis.
        fractions: The horizontal positions, shares of one, ``K`` of them.
        lines: ``K`` numbers for each method, by its number.
    """

    title: str
    x: str
    y: str
    fractions: Sequence[float]
    lines: dict[int, Sequence[float]]


def draw(panel: Panel) -> str:
    """Draw a chart.

    Args:
        panel: What it shows; with at least one line of finite numbers.

    Returns:
        An ``svg`` element with everything escaped.
    """
    ticks = _ticks(
        min(map(min, panel.lines.values())), max(map(max, panel.lines.values()))
    )
    points = {
        number: [
            (_across(share, panel.fractions), _down(value, ticks))
            for share, value in zip(panel.fractions, line, strict=True)
        ]
        for number, line in panel.lines.items()
    }
    lines = "".join(
        f'<polyline class="k" {_look(number)} points="'
        f'{" ".join(f"{x:.1f},{y:.1f}" for x, y in line)}"/>'
        for number, line in points.items()
    )
    return (
        f'<svg role="img" aria-label="{escape(panel.title)}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}">'
        f"{_axes(panel, ticks)}{lines}{_numbers(points)}</svg>"
    )


def swatch(number: int) -> str:
    """Draw a piece of a method's line with its number.

    Args:
        number: Of the method, from 0 on.

    Returns:
        An ``svg`` element.
    """
    return (
        '<svg width="44" height="12" viewBox="0 0 44 12" aria-hidden="true">'
        f'<polyline class="k" {_look(number)} points="0,6 44,6"/>'
        f"{_number(number, (22.0, 6.0))}</svg>"
    )


def _look(number: int) -> str:
    """Return the attributes of a method's line."""
    dashes = _DASHES[number % len(_DASHES)]
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'style="stroke:{_colour(number)}"{dashed}'


def _colour(number: int) -> str:
    return f"var(--k{number % len(_LIGHT)})"


def _number(number: int, at: Point) -> str:
    x, y = at
    return (
        f'<text class="n" x="{x:.1f}" y="{y + 4:.1f}" style="fill:{_colour(number)}">'
        f"{number + 1}</text>"
    )


def _numbers(points: dict[int, list[Point]]) -> str:
    """Return each line's number, where the line is farthest from all else."""
    finer = {number: _halved(line) for number, line in points.items()}
    placed: list[Point] = []
    for number, line in finer.items():
        others = [other for n, other in finer.items() if n != number]
        # The first points lie on the axis, and often on each other.
        rooms = {
            k: _room(line[k], [other[k] for other in others], placed)
            for k in range(min(2, len(line) - 1), len(line))
        }
        placed.append(line[max(rooms, key=lambda k: rooms[k])])
    return "".join(map(_number, points, placed))


def _halved(line: Sequence[Point]) -> list[Point]:
    """Return a line's points and those half way between them."""
    finer = list(line[:1])
    for a, b in pairwise(line):
        finer += [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2), b]
    return finer


def _room(at: Point, above: Sequence[Point], placed: Sequence[Point]) -> float:
    """Return how far a point is from other lines, and from numbers placed so far."""
    gaps = [abs(other[1] - at[1]) for other in above]
    apart = [math.dist(at, other) - 8 for other in placed]
    return min([*gaps, *apart, 14.0])


def _axes(panel: Panel, ticks: Sequence[float]) -> str:
    """Return grid lines, their numbers and the axes' labels."""
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    places = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    parts = []
    for tick in ticks:
        y = _down(tick, ticks)
        parts.append(
            f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/><text x="{_LEFT - 5}" '
            f'y="{y + 4:.1f}" text-anchor="end">{tick + 0.0:.{places}f}</text>'
        )
    last = panel.fractions[-1]
    for share in (0.0, last / 2, last):
        x = _across(share, panel.fractions)
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">'
            f"{100 * share:.0f}</text>"
        )
    middle = (_TOP + bottom) / 2
    return "".join(parts) + (
        f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">'
        f'{escape(panel.x)}</text><text text-anchor="middle" '
        f'transform="translate(10 {middle}) rotate(-90)">{escape(panel.y)}</text>'
    )


def _across(share: float, fractions: Sequence[float]) -> float:
    return _LEFT + share / (fractions[-1] or 1.0) * (_WIDTH - _LEFT - _RIGHT)


def _down(value: float, ticks: Sequence[float]) -> float:
    inside = (value - ticks[0]) / (ticks[-1] - ticks[0])
    return _TOP + (1 - inside) * (_HEIGHT - _TOP - _BOTTOM)


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers from ``low`` or less on to ``high`` or more."""
    span = max(high - low, 1e-6 * abs(high), 1e-6 * abs(low))
    if span < LEAST_SPAN:
        span = 1.0
    size = 10.0 ** math.floor(math.log10(span / 3))
    step = next(size * n for n in (1, 2, 5, 10) if span / (size * n) <= 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * n for n in range(first, max(last, first + 1) + 1)]
