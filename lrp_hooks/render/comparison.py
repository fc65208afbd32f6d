"""Several methods, or classes, over the same input: heat maps, agreement, costs.

Tokens are rows and methods are columns, so that a long text only grows downwards; or
each method has the text for itself. Each method has its own scale: methods measure in
different units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import ArgumentError
from ..support.table import beside
from ..support.text import (
    both_signs,
    cell_width,
    decimals,
    escape,
    signed,
    visible,
)
from ..views.comparison import SideBySide
from ..views.explanation import Strip, View
from .colour import ansi, class_name, level
from .comparison_maps import maps_figure, maps_html, maps_text
from .document import isolated, styled
from .explanation_figure import explanation_figure
from .explanation_html import strip_html

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure", "fragment", "terminal"]

Strips = dict[str, Strip]

_STYLE = (
    ".lrp-hooks .wide { overflow-x: auto } "
    ".lrp-hooks .wide td { padding: .1em .5em } "
    ".lrp-hooks .wide th { padding: 0 .5em; vertical-align: bottom } "
    ".lrp-hooks .wide th, .lrp-hooks .wide th * { overflow-wrap: normal } "
    ".lrp-hooks .maps { display: flex; flex-wrap: wrap; gap: 1em } "
    ".lrp-hooks .maps figure { margin: 0 } "
    ".lrp-hooks .strips { flex-direction: column } "
    ".lrp-hooks .strips .picture, .lrp-hooks .strips .ticks { width: min(100%, 40em) }"
)


def fragment(shown: SideBySide) -> str:
    """Write a part of a page.

    Args:
        shown: What there is to show.

    Returns:
        One ``div`` that brings its own style.

    Raises:
        ArgumentError: If there are no such rows.
    """
    if shown.rows not in _ROWS:
        raise ArgumentError(
            f"rows={shown.rows!r} must be one of {', '.join(map(repr, _ROWS))}."
        )
    examples = "".join(
        _example(shown, b, _ROWS[shown.rows]) for b in range(shown.batch)
    )
    parts = [examples, _agreement(shown), _costs(shown), _failures(shown)]
    return styled(f"<style>{_STYLE}</style>{''.join(parts)}")


def terminal(shown: SideBySide, colour: bool, width: int) -> str:
    """Write for a terminal.

    Args:
        shown: What there is to show.
        colour: True for a heat map, false for numbers alone.
        width: Columns; methods that do not fit beside others stand below them.

    Returns:
        Lines of text, without a newline at the end.
    """
    lines: list[str] = []
    for b in range(shown.batch):
        lines += [f"target  {visible(shown.told(b))}", ""]
        maps = shown.maps(b)
        grid = maps_text(maps, width if colour else None) if maps else None
        lines += [*(grid or _grid(shown, b, colour, width)), ""]
    lines += ["spearman", *_numbers(shown, width), "", *_cost_lines(shown)]
    left_out = {f"{label} left out": why for label, why in shown.failures.items()}
    said = {**shown.notes, **left_out}
    lines += [visible(f"{label}: {text}") for label, text in said.items()]
    return "\n".join(lines)


def figure(shown: SideBySide, width: float | None) -> Figure:
    """Draw each method's scores as a heat map of the input, on the page's scales.

    Args:
        shown: What there is to show.
        width: Inches that it may take.

    Returns:
        A figure that belongs to no window.
    """
    maps = [(shown.told(b), shown.maps(b)) for b in range(shown.batch)]
    if all(own for _, own in maps):
        names = shown.marked("\n")
        named = [
            (target, {names[label]: each for label, each in own.items()})
            for target, own in maps
        ]
        return maps_figure(named, width)
    drawn = [each for b in range(shown.batch) for each in _alone(shown, b)]
    return explanation_figure(drawn, width)


def _alone(shown: SideBySide, b: int) -> list[View]:
    """Return each method's scores of a text, their outputs with the same decimals."""
    scales, names = shown.scales(shown.strips(b)), shown.marked(" ")
    places = min(each.examples[b].places for each in shown.views.values())
    return [
        View(names[label], scales[label], [replace(each.examples[b], rounded=places)])
        for label, each in shown.views.items()
    ]


def _grid(shown: SideBySide, b: int, colour: bool, width: int) -> list[str]:
    """Return a head line, and a line for each token; again for methods that follow."""
    strips = shown.strips(b)
    scales = shown.scales(strips)
    tokens = [visible(token) for token in next(iter(strips.values())).texts]
    column = min(max(map(cell_width, tokens), default=0), 24)
    columns = [
        _column(visible(label), strip, scales[label], colour)
        for label, strip in strips.items()
    ]
    heads = [_left(token, column) for token in ("", *tokens)]
    return beside(heads, columns, width - column)


def _column(
    name: str, strip: Strip, scale: float, colour: bool
) -> tuple[int, list[str]]:
    """Return a method's scores below its name, and how wide they are."""
    wide, lines = max(9, cell_width(name)), []
    for score in strip.scores:
        number = f"{signed(score, decimals(scale)):>{wide}}"
        lines.append("  " + (ansi(number, level(score, scale)) if colour else number))
    return wide + 2, [f"  {_right(name, wide)}", *lines]


def _left(text: str, width: int) -> str:
    return text + " " * (width - cell_width(text))


def _right(text: str, width: int) -> str:
    return " " * (width - cell_width(text)) + text


def _numbers(shown: SideBySide, width: int) -> list[str]:
    """Return rank correlations; where columns do not fit, they are numbered."""
    labels = [visible(label) for label in shown.views]
    column = max(map(cell_width, labels)) + 2
    heads = [_left(f"  {label}", column) for label in labels]
    columns = [
        (7, [f"  {_share(row[m]):>5}" for row in shown.agreement])
        for m in range(len(labels))
    ]
    if column + 7 * len(columns) <= width:
        return beside(heads, columns, width - column)
    numbers = [f"  {_left(f'{n} {name}', column)}" for n, name in enumerate(labels, 1)]
    named = [(7, [f"  {m:>5}", *cells]) for m, (_, cells) in enumerate(columns, 1)]
    return beside([" " * (column + 2), *numbers], named, width - column - 2)


def _cost_lines(shown: SideBySide) -> list[str]:
    labels = [visible(label) for label in shown.costs]
    column = max(map(cell_width, labels))
    heading = f"{'cost':<{column + 2}}  model calls  sequences  CPU seconds"
    rows = zip(labels, shown.costs.values(), strict=True)
    return [
        heading,
        *(
            f"  {_left(label, column)}  {cost.calls:>11}  {cost.sequences:>9}"
            f"  {cost.seconds:>11.2f}"
            for label, cost in rows
        ),
        "",
    ]


def _example(shown: SideBySide, b: int, rows: Rows) -> str:
    maps = shown.maps(b)
    targets = {label: each.examples[b].target for label, each in shown.views.items()}
    told = "".join(
        f' <span class="soft">{isolated(label)}</span> {isolated(target)}'
        for label, target in targets.items()
    )
    if len(set(targets.values())) == 1:
        told = isolated(next(iter(targets.values())))
    methods = len({each.method for each in shown.views.values()})
    scale = "each method has its own scale" if methods > 1 else "all have one scale"
    if maps:
        body = maps_html(maps)
    else:
        strips = shown.strips(b)
        scale += ", that of ordinary tokens"
        body = rows(strips, shown.scales(strips))
    return (
        f'<section><p><span class="soft">target</span> {told}</p>'
        f'<p class="soft">{scale}</p>{body}</section>'
    )


def _by_token(strips: Strips, scales: dict[str, float]) -> str:
    """Return a table: tokens are rows, methods are columns."""
    head = "".join(f'<th scope="col">{_breakable(label)}</th>' for label in strips)
    tokens = next(iter(strips.values())).tokens
    rows = "".join(_row(strips, scales, t, token) for t, token in enumerate(tokens))
    return f'<div class="wide"><table><tr><th></th>{head}</tr>{rows}</table></div>'


def _row(strips: Strips, scales: dict[str, float], t: int, token: str) -> str:
    cells = ""
    for label, strip in strips.items():
        scale, score = scales[label], strip.scores[t]
        shade = class_name(level(score, scale))
        cells += f'<td class="{shade}">{signed(score, decimals(scale))}</td>'
    head = f'<span class="t" dir="auto">{escape(token)}</span>'
    return f'<tr><th scope="row">{head}</th>{cells}</tr>'


def _by_method(strips: Strips, scales: dict[str, float]) -> str:
    """Return the text once for each method."""
    return "".join(
        f'<p class="soft">{isolated(label)} up to {both_signs(scale)}</p>'
        f"{strip_html(strips[label], scale, decimals(scale))}"
        for label, scale in scales.items()
    )


Rows = Callable[[Strips, dict[str, float]], str]
_ROWS: dict[str, Rows] = {"tokens": _by_token, "methods": _by_method}


def _agreement(shown: SideBySide) -> str:
    labels = [_breakable(label) for label in shown.views]
    head = "".join(f'<th scope="col">{label}</th>' for label in labels)
    rows = "".join(
        f'<tr><th scope="row">{label}</th>'
        + "".join(
            f'<td class="{class_name(level(value, 1.0))}">{_share(value)}</td>'
            for value in row
        )
        + "</tr>"
        for label, row in zip(labels, shown.agreement, strict=True)
    )
    caption = "<caption>rank agreement (Spearman)</caption>"
    table = f"<table>{caption}<tr><th></th>{head}</tr>{rows}</table>"
    return f'<div class="wide">{table}</div>'


def _share(value: float) -> str:
    return "-" if math.isnan(value) else signed(value, 2)


def _breakable(label: str) -> str:
    return isolated(label).replace("_", "_<wbr>")


def _costs(shown: SideBySide) -> str:
    titles = ("method", "model calls", "sequences", "CPU seconds")
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    rows = "".join(
        f'<tr><th scope="row">{isolated(label)}</th><td>{cost.calls}</td>'
        f"<td>{cost.sequences}</td><td>{cost.seconds:.2f}</td></tr>"
        for label, cost in shown.costs.items()
    )
    return f"<table><caption>cost</caption><tr>{head}</tr>{rows}</table>"


def _failures(shown: SideBySide) -> str:
    notes = "".join(
        f'<p class="soft">{isolated(label)}: {escape(note)}</p>'
        for label, note in shown.notes.items()
    )
    return notes + "".join(
        f'<p class="soft">{isolated(label)} left out: {escape(why)}</p>'
        for label, why in shown.failures.items()
    )
