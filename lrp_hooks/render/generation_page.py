"""A page on which each generated token shows what it drew on.

It needs no script: the style sheet colours the tokens that the one under the pointer,
or the one that has the keyboard's focus, drew on.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from .colour import DARK, LEVELS, LIGHT, class_name, ink, rgb
from .colour import level as level_of
from .generation_view import STRONGEST, Matrix
from .html import document, isolated, reading_direction, styled
from .text import decimals, escape, signed, visible

if TYPE_CHECKING:
    from ..generation import GenerationExplanation

__all__ = ["fragment", "page"]

_STYLE = """
.lrp-hooks .made { border-bottom: 2px solid var(--soft); border-radius: .25em .25em 0 0;
  cursor: pointer }
.lrp-hooks .made:is(:hover, :focus),
.lrp-hooks .text:not(:has(.made:is(:hover, :focus))) .g0 {
  outline: 2px solid var(--fg) }
.lrp-hooks .text { line-height: 2.4 }
"""
MOST_COLOURED = 150_000
"""Cells of the matrix that a page colours, so that it stays below some megabytes."""


def page(explanation: GenerationExplanation) -> str:
    """Write a whole document.

    Args:
        explanation: What `explain_generation` returned.

    Returns:
        HTML without any control character.
    """
    return document(fragment(explanation))


def fragment(explanation: GenerationExplanation) -> str:
    """Write a part of a page, for notebooks.

    Args:
        explanation: What `explain_generation` returned.

    Returns:
        One ``div`` that brings its own style.
    """
    shown = Matrix(explanation)
    rows = _levels(shown)
    own = _own_class(rows)
    style = " ".join(_STYLE.split()) + _colours() + _rules(rows, own)
    rule_set = explanation.meta.get("rules", "")
    method = f"{explanation.method} ({rule_set})" if rule_set else explanation.method
    steps = "".join(
        f'<span class="step {class_name(step)}"></span>'
        for step in range(-LEVELS, LEVELS + 1)
    )
    pairs = zip(shown.tokens, shown.special, strict=True)
    direction = reading_direction(token for token, special in pairs if not special)
    return styled(
        f"<style>{style}</style>"
        f'<p><span class="soft">method</span> {isolated(method)}</p>'
        f'<p class="soft">Point at an underlined token, or step to it with the tab '
        f"key: {_what_is_coloured(shown)} are coloured, each token on its own "
        f"scale, against {steps} for it.</p>"
        f'<p class="text {own}" dir="{direction}">{_spans(shown)}</p>'
    )


def _own_class(rows: list[dict[int, list[int]]]) -> str:
    """Name a class after the scores: a notebook may hold several fragments."""
    return f"u{hashlib.sha256(repr(rows).encode()).hexdigest()[:8]}"


def _most(shown: Matrix) -> int:
    """Return how many tokens of each row are coloured."""
    return max(STRONGEST, MOST_COLOURED // len(shown.targets))


def _what_is_coloured(shown: Matrix) -> str:
    if len(shown.tokens) <= _most(shown):
        return "the tokens that it drew on"
    return f"the {_most(shown)} tokens that it drew on most"


def _levels(shown: Matrix) -> list[dict[int, list[int]]]:
    """Return for each generated token the columns of each level but zero."""
    rows = []
    most = min(_most(shown), len(shown.tokens))
    sizes = shown.scores.abs().nan_to_num(0.0)
    strongest = sizes.topk(most).indices.sort().values
    found = shown.scores.gather(1, strongest)
    for columns, scores, scale in zip(
        strongest.tolist(), found.tolist(), shown.scales, strict=True
    ):
        levels: dict[int, list[int]] = {}
        for column, score in zip(columns, scores, strict=True):
            step = level_of(score, scale)
            if step:
                levels.setdefault(step, []).append(column)
        rows.append(levels)
    return rows


def _colours() -> str:
    """Write the colours of all levels as variables, for light and dark pages."""
    light, dark = (
        "".join(
            f"--{class_name(step)}:{_hex(rgb(step, neutral))};"
            f"--i{class_name(step)}:{_hex(ink(rgb(step, neutral)))};"
            for step in range(-LEVELS, LEVELS + 1)
            if step
        )
        for neutral in (LIGHT, DARK)
    )
    return (
        f".lrp-hooks .text{{{light}}}"
        f"@media (prefers-color-scheme:dark){{.lrp-hooks .text{{{dark}}}}}"
    )


def _rules(rows: list[dict[int, list[int]]], own: str) -> str:
    """Write which tokens are coloured when which one is pointed at."""
    found = []
    for t, levels in enumerate(rows):
        # The pointer goes before the focus; without either, the first row shows.
        shown = f":has(.g{t}:hover),:has(.g{t}:focus):not(:has(.made:hover))"
        if t == 0:
            shown += ",:not(:has(.made:is(:hover,:focus)))"
        inner = "".join(
            f"{','.join(f'.k{column}' for column in columns)}"
            f"{{background:var(--{class_name(step)});color:var(--i{class_name(step)})}}"
            for step, columns in levels.items()
        )
        if inner:
            found.append(f".{own}:is({shown}){{{inner}}}")
    return "".join(found)


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _spans(shown: Matrix) -> str:
    """Write the text, each token a span, the generated ones to be pointed at."""
    spans = []
    for column, token in enumerate(shown.tokens):
        t = column - shown.prompt
        kind = f"t k{column}{' s' * shown.special[column]}"
        made = ""
        if t >= 0:
            kind += f" made g{t}"
            made = f' tabindex="0" title="{escape(_title(shown, t))}"'
        spans.append(f'<span class="{kind}" dir="auto"{made}>{escape(token)}</span>')
    return " ".join(spans)


def _title(shown: Matrix, t: int) -> str:
    """Return a generated token's logit and what it drew on most, in one line."""
    places = decimals(shown.scales[t])
    parts = [
        f"{visible(token)} {signed(score, places)}"
        for token, score in shown.strongest(t)
    ]
    target, output = visible(shown.targets[t]), signed(shown.output[t], places)
    return f"{target}: {output} = {'; '.join(parts)}; ..."
