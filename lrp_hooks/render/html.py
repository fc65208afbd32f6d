"""Self-contained pages: no script, no link, nothing to fetch; light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..support.text import decimals, escape, reading_direction, signed
from .colour import LEVELS, class_name, css, level
from .pictures import data_url, pixels
from .view import Account, Example, Picture, Strip, View, view

if TYPE_CHECKING:
    from ..results.explanation import Explanation

__all__ = [
    "document",
    "fragment",
    "isolated",
    "page",
    "strip_html",
    "styled",
]

_STYLE = """
.lrp-hooks { --fg: #1b1d21; --bg: #fff; --soft: #5b6068; --line: #d8dbe0;
  color: var(--fg); background: var(--bg); padding: 1em; max-width: 60em;
  font: 15px/1.5 system-ui, sans-serif; text-align: start }
@media (prefers-color-scheme: dark) {
  .lrp-hooks { --fg: #e6e7ea; --bg: #1b1d21; --soft: #a2a8b1; --line: #3c4048 } }
.lrp-hooks p { margin: .4em 0 }
.lrp-hooks section { border-top: 1px solid var(--line); margin-top: .8em }
.lrp-hooks .text { line-height: 2.1; overflow-wrap: anywhere }
.lrp-hooks .t { unicode-bidi: isolate; white-space: pre-wrap; padding: .2em .25em;
  border-radius: .25em }
.lrp-hooks .s { opacity: .6; font-size: .85em }
.lrp-hooks .soft { color: var(--soft) }
.lrp-hooks .name { unicode-bidi: isolate; font-weight: 600; overflow-wrap: anywhere }
.lrp-hooks .step { display: inline-block; width: .5em; height: .9em;
  vertical-align: middle }
.lrp-hooks img { display: block; width: 100%; image-rendering: pixelated }
.lrp-hooks .picture { display: inline-block; position: relative; vertical-align: top;
  width: min(100%, 20em); border: 1px solid var(--line) }
.lrp-hooks .cells { position: absolute; inset: 0; display: grid; grid-auto-rows: 1fr }
.lrp-hooks .numbers[open] ~ section .t::after { content: " " attr(title);
  font-size: .7em; font-variant-numeric: tabular-nums }
.lrp-hooks .t:focus-visible { outline: 2px solid var(--fg) }
.lrp-hooks table { border-collapse: collapse; font-size: .9em; margin: .6em 0 }
.lrp-hooks caption { text-align: start; color: var(--soft) }
.lrp-hooks th { text-align: start; font-weight: 400; padding-inline-end: 1.5em;
  overflow-wrap: anywhere }
.lrp-hooks tr { background: none !important }
.lrp-hooks td { text-align: end; font-variant-numeric: tabular-nums }
.lrp-hooks tr:not(.sum) + .sum { border-top: 1px solid var(--line) }
.lrp-hooks .track { display: inline-block; position: relative; width: 10em;
  height: .8em; margin-inline-start: 1.5em; background:
  linear-gradient(var(--line), var(--line)) 50% 0 / 1px 100% no-repeat }
.lrp-hooks .bar { position: absolute; top: 0; bottom: 0 }
"""
MOST_CELLS = 1024
"""Scores of an image that can be pointed at, so that a page stays small."""

# Nothing may be fetched or run, whatever a viewer's own rules are.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(explanations: Sequence[Explanation]) -> str:
    """Write a whole document.

    Args:
        explanations: Shown one below the other, each with its own scale.

    Returns:
        HTML without any control character, line ends included.
    """
    return document(fragment(explanations))


def fragment(explanations: Sequence[Explanation]) -> str:
    """Write a part of a page, for notebooks and for pages of others.

    Args:
        explanations: Shown one below the other, each with its own scale.

    Returns:
        One ``div`` that brings its own style.
    """
    return styled("".join(_explanation(view(each)) for each in explanations))


def document(body: str) -> str:
    """Write a document around a fragment.

    Args:
        body: What `styled` returned.

    Returns:
        HTML that fetches and runs nothing.
    """
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        "<title>lrp_hooks: explanation</title></head><body>"
        f"{body}</body></html>"
    )


def styled(body: str) -> str:
    """Write a fragment that brings its own style.

    Args:
        body: HTML with everything escaped.

    Returns:
        One ``div``.
    """
    style = " ".join(_STYLE.split()) + css(".lrp-hooks")
    return f'<div class="lrp-hooks"><style>{style}</style>{body}</div>'


def _explanation(shown: View) -> str:
    """Return the legend and all examples."""
    places = decimals(shown.scale)
    examples = "".join(_example(e, shown.scale, places) for e in shown.examples)
    parts = (part for example in shown.examples for part in example.parts)
    has_tokens = any(isinstance(part, Strip) for part in parts)
    return (
        f'<div><p><span class="soft">method</span> {isolated(shown.method)}</p>'
        f"{_legend(shown.scale, places)}{_NUMBERS * has_tokens}{examples}</div>"
    )


# A switch that needs no script and no pointer.
_NUMBERS = (
    '<details class="numbers soft"><summary>numbers</summary>'
    "each score stands behind its token</details>"
)


def _legend(scale: float, places: int) -> str:
    """Return the colours with the numbers that they stand for."""
    steps = "".join(
        f'<span class="step {class_name(step)}"></span>'
        for step in range(-LEVELS, LEVELS + 1)
    )
    return (
        f'<p class="soft">against {signed(-scale, places)} {steps} '
        f"{signed(scale, places)} for the target</p>"
    )


def _example(example: Example, scale: float, places: int) -> str:
    """Return one example: what was explained, its scores, its ledger."""
    parts = "".join(
        strip_html(part, scale, places)
        if isinstance(part, Strip)
        else _picture(part, scale, places)
        for part in example.parts
    )
    terms = {"prediction": example.prediction, "target": example.target}
    head = "".join(
        f'<span class="soft">{term}</span> {isolated(name)} '
        for term, name in terms.items()
        if name or term == "target"
    )
    output = signed(example.output, example.places)
    return (
        f'<section><p>{head}<span class="soft">output</span> {output}</p>'
        f"{parts}{_account(example) if example.account else ''}</section>"
    )


def strip_html(strip: Strip, scale: float, places: int) -> str:
    """Write a text, each token a span.

    Args:
        strip: The tokens with their scores.
        scale: The score of full colour.
        places: Decimals of the numbers.

    Returns:
        Paragraphs of a `styled` fragment.
    """
    rows = zip(strip.tokens, strip.scores, strip.special, strict=True)
    spans = " ".join(
        f'<span class="t {class_name(level(score, scale))}{" s" * special}" dir="auto" '
        f'title="{signed(score, places)}">{escape(token)}</span>'
        for token, score, special in rows
    )
    words = (t for t, s in zip(strip.tokens, strip.special, strict=True) if not s)
    direction = reading_direction(words)
    return f'{_heading(strip.name)}<p class="text" dir="{direction}">{spans}</p>'


def _picture(picture: Picture, scale: float, places: int) -> str:
    """Return an image of scores, beside the picture that it explains."""
    label = f"heat map from {signed(-scale, places)} to {signed(scale, places)}"
    heat = data_url(pixels(picture.scores, scale, picture.image))
    parts = f'<img alt="{label}" src="{heat}">{_cells(picture, places)}'
    shown = f'<span class="picture">{parts}</span>'
    if picture.image is not None:
        seen = f'<img alt="what was explained" src="{data_url(picture.image)}">'
        shown = f'<span class="picture">{seen}</span> {shown}'
    return f"{_heading(picture.name)}<p>{shown}</p>"


def _cells(picture: Picture, places: int) -> str:
    """Return the number of each score, to be pointed at, unless there are many."""
    if picture.scores.numel() > MOST_CELLS:
        return ""
    cells = "".join(
        f'<span title="{signed(value, places)}"></span>'
        for value in picture.scores.flatten().tolist()
    )
    columns = f"grid-template-columns:repeat({picture.scores.shape[1]},1fr)"
    return f'<span class="cells" style="{columns}">{cells}</span>'


def _account(example: Example) -> str:
    """Return the ledger: a bar for each kind of term, and all sources on demand."""
    account = example.account
    assert account is not None
    places = example.places
    sums = (
        ("total", signed(account.total, places)),
        ("output", signed(example.output, places)),
        ("error", f"{account.error:.1e}"),
    )
    rows = "".join(
        f'<tr class="sum"><th scope="row">{name}</th><td>{number}</td><td></td></tr>'
        for name, number in sums
    )
    return (
        f"<table><caption>ledger</caption>{_terms(account.groups, places)}{rows}"
        f"</table>{_sources(account, places)}"
    )


def _sources(account: Account, places: int) -> str:
    """Return all sources, folded away."""
    if not account.sources:
        return ""
    return (
        f'<details><summary class="soft">all {len(account.sources)} sources</summary>'
        f"<table>{_terms(account.sources, places)}</table></details>"
    )


def _terms(terms: Sequence[tuple[str, float]], places: int) -> str:
    """Return rows of a name, a number and a bar to the left or right of zero."""
    largest = max((abs(value) for _, value in terms), default=0.0) or 1.0
    return "".join(
        f'<tr><th scope="row">{isolated(name)}</th><td>{signed(value, places)}</td>'
        f'<td><span class="track">{_bar(value / largest)}</span></td></tr>'
        for name, value in terms
    )


def _bar(share: float) -> str:
    """Return a bar; ``share`` is from -1 to 1."""
    width = min(abs(share), 1.0) * 50
    left = 50 - width if share < 0 else 50
    step = class_name(LEVELS if share > 0 else -LEVELS)
    return (
        f'<span class="bar {step}" style="left:{left:.2f}%;width:{width:.2f}%"></span>'
    )


def isolated(text: str) -> str:
    """Return a name from anywhere, isolated from what surrounds it.

    Args:
        text: A label, a method or a module.

    Returns:
        A span.
    """
    return f'<span class="name" dir="auto">{escape(text)}</span>'


def _heading(name: str) -> str:
    return f'<p class="soft">{isolated(name)}</p>' if name else ""
