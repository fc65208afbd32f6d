"""A text in which the token that is pointed at colours others, without any script.

The style sheet colours what the token under the pointer, or the one that has the
keyboard's focus, has scores for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from torch import Tensor

from ..support.text import escape, reading_direction
from .colour import DARK, LEVELS, LIGHT, class_name, hex_code, ink, rgb
from .colour import level as level_of
from .document import in_lines

__all__ = ["levels", "rules", "style", "text"]

Levels = dict[int, list[int]]
"""The columns of each level but zero."""

MOMENTS = 100
"""Of a sound in a line."""
_STYLE = """
.lrp-hooks .sensed { display: inline-grid; gap: 1px; padding: 1px; vertical-align: top;
  border: 1px solid var(--soft); grid-template-columns: repeat(var(--n), .8em) }
.lrp-hooks .sensed > * { height: .8em }
.lrp-hooks .heard { grid-template-columns: repeat(var(--n), minmax(2px, .5em)) }
.lrp-hooks .heard > * { height: 1.6em }
.lrp-hooks .made { border-bottom: 2px solid var(--soft); border-radius: .25em .25em 0 0;
  cursor: pointer }
.lrp-hooks .made:is(:hover, :focus),
.lrp-hooks .text:not(:has(.made:is(:hover, :focus))) .g0 {
  outline: 2px solid var(--fg) }
.lrp-hooks .text { line-height: 2.4 }
.lrp-hooks .made { position: relative }
.lrp-hooks .made:focus-visible::after { content: attr(title); position: absolute;
  inset-inline-start: 0; top: 100%; z-index: 1; width: max-content; max-width: 20em;
  padding: .3em .5em; border: 1px solid var(--soft); border-radius: .25em;
  background: var(--bg); color: var(--fg); font-size: .8em; line-height: 1.4 }
"""


def levels(scores: Tensor, scales: Sequence[float], most: int) -> list[Levels]:
    """Place each row's largest scores on its scale.

    Args:
        scores: ``[N, T]``, a row for each token that can be pointed at.
        scales: What has the full colour in each row.
        most: How many scores of a row are coloured at most.

    Returns:
        N times the columns of each level but zero.
    """
    rows = []
    sizes = scores.abs().nan_to_num(0.0)
    strongest = sizes.topk(min(most, scores.shape[1])).indices.sort().values
    found = scores.gather(1, strongest)
    for columns, values, scale in zip(
        strongest.tolist(), found.tolist(), scales, strict=True
    ):
        row: Levels = {}
        for column, value in zip(columns, values, strict=True):
            step = level_of(value, scale)
            if step:
                row.setdefault(step, []).append(column)
        rows.append(row)
    return rows


def style() -> str:
    """Write the style sheet of all such texts, for light and dark pages.

    Returns:
        CSS.
    """
    light, dark = (
        "".join(
            f"--{class_name(step)}:{hex_code(rgb(step, neutral))};"
            f"--i{class_name(step)}:{hex_code(ink(rgb(step, neutral)))};"
            for step in range(-LEVELS, LEVELS + 1)
            if step
        )
        for neutral in (LIGHT, DARK)
    )
    return (
        f"{' '.join(_STYLE.split())}.lrp-hooks .text{{{light}}}"
        f"@media (prefers-color-scheme:dark){{.lrp-hooks .text{{{dark}}}}}"
    )


def rules(rows: Sequence[Levels]) -> str:
    """Write which tokens are coloured when which one is pointed at.

    Args:
        rows: What `levels` returned.

    Returns:
        CSS that holds in the text of the same rows alone.
    """
    found, own = [], _own_class(rows)
    for t, row in enumerate(rows):
        # The pointer goes before the focus; without either, the first row shows.
        shown = f":has(.g{t}:hover),:has(.g{t}:focus):not(:has(.made:hover))"
        if t == 0:
            shown += ",:not(:has(.made:is(:hover,:focus)))"
        inner = "".join(
            f"{','.join(f'.k{column}' for column in columns)}"
            f"{{background:var(--{class_name(step)});color:var(--i{class_name(step)})}}"
            for step, columns in row.items()
        )
        if inner:
            found.append(f".{own}:is({shown}){{{inner}}}")
    return "".join(found)


def text(
    tokens: Sequence[str],
    special: Sequence[bool],
    titles: Sequence[str],
    rows: Sequence[Levels],
    breaks: Sequence[int] | None = None,
    grid: Sequence[int] | None = None,
) -> str:
    """Write a text, the last tokens of which can be pointed at.

    Args:
        tokens: All T tokens.
        special: Which of them are special.
        titles: What is said of each token that can be pointed at, N of them.
        rows: What `levels` returned, for the same N.
        breaks: How many line breaks stand before each token. Defaults to ``None``: all
            stand in one line.
        grid: The first column, the rows and the columns of what is no text but a
            picture or a sound: small cells that tell their names when pointed at.
            Defaults to ``None``: there is none.

    Returns:
        A paragraph, each token a span.
    """
    first, spans = len(tokens) - len(rows), []
    for column, token in enumerate(tokens):
        t = column - first
        kind = f"t k{column}{' s' * special[column]}"
        made = ""
        if t >= 0:
            kind += f" made g{t}"
            made = f' tabindex="0" title="{escape(titles[t])}"'
        spans.append(f'<span class="{kind}" dir="auto"{made}>{escape(token)}</span>')
    breaks = [0] * len(spans) if breaks is None else list(breaks)
    if grid is not None:
        first, end = grid[0], grid[0] + grid[1] * grid[2]
        spans[first:end] = [_cells(tokens[first:end], first, grid[2])]
        breaks[first:end] = breaks[first : first + 1]
    words = (w for w, alone in zip(tokens, special, strict=True) if not alone)
    return (
        f'<p class="text {_own_class(rows)}" dir="{reading_direction(words)}">'
        f"{in_lines(spans, breaks)}</p>"
    )


def _cells(names: Sequence[str], first: int, columns: int) -> str:
    """Write a picture's patches in rows, or the moments of a sound in lines."""
    heard = columns == len(names)
    each = min(columns, MOMENTS) if heard else columns
    cells = "".join(
        f'<span class="k{first + n}" title="{escape(name)}"></span>'
        for n, name in enumerate(names)
    )
    kind = "sensed heard" if heard else "sensed"
    return f'<span class="{kind}" style="--n:{each}">{cells}</span>'


def _own_class(rows: Sequence[Levels]) -> str:
    """Name a class after the scores: a notebook may hold several fragments."""
    return f"u{hashlib.sha256(repr(rows).encode()).hexdigest()[:8]}"
