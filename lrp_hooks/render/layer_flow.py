"""Tokens by layers: which positions hold the output at each cut, and what entered.

Tokens are rows and layers are columns, so that a long text only grows downwards. All
cells of a page have one scale: relevance is the same quantity in every layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError
from ..support.text import cell_width, decimals, escape, signed, visible
from ..views.layer_flow import ENTERED, Flow, Table
from .canvas import canvas, colour_map, narrowed, require_matplotlib
from .colour import LEVELS, ansi, class_name, level
from .document import isolated, steps, styled
from .glyphs import fonts, written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["figure", "fragment", "terminal"]

_STYLE = """
.lrp-hooks .flow { overflow-x: auto; max-width: 100% }
.lrp-hooks .flow th, .lrp-hooks .flow td { padding: .1em .45em }
.lrp-hooks .flow th { white-space: nowrap }
.lrp-hooks .flow th[scope=col] { text-align: end }
.lrp-hooks .flow th:first-child { position: sticky; inset-inline-start: 0;
  background: var(--bg); max-width: 12em; overflow: hidden; text-overflow: ellipsis }
.lrp-hooks .flow td { font-size: .85em }
.lrp-hooks .scale { white-space: nowrap }
@media (max-width: 30em) { .lrp-hooks .scale { white-space: normal } }
.lrp-hooks .sums td, .lrp-hooks .sums th { border-top: 1px solid var(--line) }
"""
WIDEST = 24  # cells of a token in a terminal
MOST_ROWS = 2000  # a figure of more than 65,536 pixels cannot be drawn


def fragment(shown: Flow) -> str:
    """Write a part of a page.

    Args:
        shown: What there is to show.

    Returns:
        One ``div`` that brings its own style.
    """
    style = " ".join(_STYLE.split())
    tables = "".join(_section(shown, table) for table in shown.tables)
    return styled(f"<style>{style}</style>{_legend(shown)}{tables}")


def terminal(shown: Flow, colour: bool, width: int) -> str:
    """Write for a terminal.

    Args:
        shown: What there is to show.
        colour: True for a heat map, false for numbers alone.
        width: Columns; layers that do not fit beside each other stand below.

    Returns:
        Lines of text, without a newline at the end.
    """
    lines = [f"layers  {visible(shown.prefix)}*"] if shown.prefix else []
    for table in shown.tables:
        lines += [f"target  {visible(table.target)}"] if table.target else []
        lines += [f"output  {signed(table.output, decimals(table.output))}", ""]
        lines += _grid(shown, table, width, colour)
    if colour:
        shades = "".join(ansi(" ", step) for step in range(-LEVELS, LEVELS + 1, 2))
        ends = [signed(end, shown.places) for end in (-shown.scale, shown.scale)]
        lines.append(f"{ends[0]} {shades} {ends[1]}")
    return "\n".join(lines).rstrip("\n")


def figure(shown: Flow, width: float | None) -> Figure:
    """Draw one heat map for each example.

    Args:
        shown: What there is to show.
        width: Inches that it may take.

    Returns:
        A figure that belongs to no window, with one colour bar for all.

    Raises:
        ArgumentError: If there are more tokens than a figure can hold.
    """
    require_matplotlib()
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    rows = [len(table.strips[0].tokens) + 4 for table in shown.tables]
    if sum(rows) > MOST_ROWS:
        raise ArgumentError(
            f"the layer flow has {sum(rows)} rows, more than the {MOST_ROWS} that a "
            "figure can hold. Draw fewer examples or words(), or use to_html()."
        )
    colours = colour_map()
    scale = shown.scale or 1.0
    mapping = ScalarMappable(Normalize(-scale, scale), colours)
    size = (2.5 + 0.5 * len(shown.labels), 0.22 * sum(rows) + 0.5)
    drawn = canvas(*narrowed(size, width, 0.22 * sum(rows) + 0.5))
    grid: Any = drawn.subplots(
        len(rows), squeeze=False, gridspec_kw={"height_ratios": rows}
    )
    for axes, table in zip(grid[:, 0], shown.tables, strict=True):
        _draw(axes, shown, table, mapping)
    drawn.colorbar(mapping, ax=grid[:, 0].tolist(), pad=0.01)
    return drawn


def _legend(shown: Flow) -> str:
    ends = [signed(end, decimals(shown.scale)) for end in (-shown.scale, shown.scale)]
    leaked = ", and what these rules leak there" if shown.leaks else ""
    inside = f" of {isolated(shown.prefix + '*')}" if shown.prefix else ""
    return (
        f'<p class="soft">relevance of each token after each layer{inside}, '
        f'<span class="scale">against {ends[0]} {steps()} {ends[1]}</span> for the '
        f"target. Each column sums to the output with what {ENTERED} it: constants "
        f"added in later layers, such as biases{leaked}.</p>"
    )


def _section(shown: Flow, table: Table) -> str:
    """Return one example: what was explained, and its table."""
    first = table.strips[0]
    head = "".join(
        f'<th scope="col" title="{escape(name)}">{isolated(label)}</th>'
        for name, label in zip(shown.names, shown.labels, strict=True)
    )
    rows = "".join(
        _row(
            f'<span class="t{" s" * first.special[t]}" dir="auto">'
            f"{escape(token)}</span>",
            [strip.scores[t] for strip in table.strips],
            shown,
        )
        for t, token in enumerate(first.tokens)
    )
    below = "".join(_row(name, row, shown, sums=True) for name, row in table.sums)
    places = decimals(table.output)
    return (
        f'<section><p><span class="soft">target</span> {isolated(table.target)} '
        f'<span class="soft">output</span> {signed(table.output, places)}</p>'
        '<div class="flow" role="region" aria-label="relevance by layer" tabindex="0">'
        f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody>"
        f'<tbody class="sums">{below}</tbody></table></div></section>'
    )


def _row(head: str, values: list[float], shown: Flow, sums: bool = False) -> str:
    """Return a row of cells; those of sums have no colour, which is for tokens."""
    exact = decimals(shown.scale)
    cells = "".join(
        f'<td class="{"soft" if sums else class_name(level(value, shown.scale))}" '
        f'title="{signed(value, exact)}">{signed(value, shown.places)}</td>'
        for value in values
    )
    return f'<tr><th scope="row">{head}</th>{cells}</tr>'


def _grid(shown: Flow, table: Table, width: int, colour: bool) -> list[str]:
    """Return tables below each other, each of as many layers as there is room for."""
    first = table.strips[0]
    heads = [_cut(visible(token)) for token in first.tokens]
    rows = [[strip.scores[t] for strip in table.strips] for t in range(len(heads))]
    heads += [name for name, _ in table.sums]
    rows += [row for _, row in table.sums]
    column = max(map(cell_width, heads))
    labels = [visible(label) for label in shown.labels]
    cell = max(*map(cell_width, labels), len(signed(shown.scale, shown.places)))
    fit = max(1, (width - column) // (cell + 1))
    lines = []
    for start in range(0, len(labels), fit):
        part = slice(start, start + fit)
        lines.append(" " * column + "".join(f" {x:>{cell}}" for x in labels[part]))
        for t, (head, row) in enumerate(zip(heads, rows, strict=True)):
            heated = colour and t < len(first.tokens)
            line = ansi(head, 0, dim=heated and first.special[t])
            line += " " * (column - cell_width(head))
            for value in row[part]:
                number = f"{signed(value, shown.places):>{cell}}"
                shade = level(value, shown.scale) if heated else 0
                line += " " + ansi(number, shade)
            lines.append(line)
        lines.append("")
    return lines


def _cut(token: str) -> str:
    """Return a token that leaves room for the numbers; letters may be of two cells."""
    return token if cell_width(token) <= WIDEST else token[: WIDEST // 2 - 1] + "…"


def _draw(axes: Any, shown: Flow, table: Table, mapping: Any) -> None:
    """Draw one example, each cell on its colour."""
    first = table.strips[0]
    columns = [strip.scores for strip in table.strips]
    image = [list(row) for row in zip(*columns, strict=True)]
    axes.imshow(image, norm=mapping.norm, cmap=mapping.cmap, aspect="auto")
    below = [signed(value, shown.places) for value in table.entered]
    labels = [visible(label) for label in shown.labels]
    axes.set_xticks(range(len(labels)), labels, fontsize=8, parse_math=False)
    axes.set_yticks(
        range(len(first.tokens)),
        [written(token) for token in first.tokens],
        family=fonts("sans-serif"),
        fontsize=8,
        parse_math=False,
    )
    for tick, special in zip(axes.get_yticklabels(), first.special, strict=True):
        tick.set_alpha(0.6 if special else 1.0)
    second = axes.secondary_xaxis("top")
    second.set_xticks(range(len(below)), below, fontsize=7)
    second.set_xlabel(ENTERED, fontsize=8)
    title = f"{written(table.target)}   {signed(table.output, decimals(table.output))}"
    axes.set_title(
        title.strip(),
        loc="left",
        family=fonts("sans-serif"),
        fontsize=9,
        parse_math=False,
    )
