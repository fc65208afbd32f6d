"""Self-contained pages: no script, no link, nothing to fetch; light and dark."""

from __future__ import annotations

from collections.abc import Sequence

from ..support.text import escape
from .colour import LEVELS, class_name, css

__all__ = ["document", "in_lines", "isolated", "steps", "styled"]

_STYLE = """
.lrp-hooks { --fg: #1b1d21; --bg: #fff; --soft: #5b6068; --line: #d8dbe0;
  color: var(--fg); background: var(--bg); padding: 1em; max-width: 60em;
  font: 15px/1.5 system-ui, sans-serif; text-align: start }
@media (prefers-color-scheme: dark) {
  .lrp-hooks { --fg: #e6e7ea; --bg: #1b1d21; --soft: #a2a8b1; --line: #3c4048 } }
.lrp-hooks p { margin: .4em 0 }
.lrp-hooks section { border-top: 1px solid var(--line); margin-top: .8em }
.lrp-hooks .text { line-height: 2.1; overflow-wrap: anywhere; white-space: pre-line }
.lrp-hooks .t { unicode-bidi: isolate; white-space: pre-wrap; padding: .2em .25em;
  border-radius: .25em }
.lrp-hooks .s { opacity: .6; font-size: .85em }
.lrp-hooks .soft { color: var(--soft) }
.lrp-hooks .name { unicode-bidi: isolate; font-weight: 600; overflow-wrap: anywhere }
.lrp-hooks .steps { white-space: nowrap }
.lrp-hooks .step { display: inline-block; width: .5em; height: .9em;
  vertical-align: middle }
.lrp-hooks img { display: block; width: 100%; image-rendering: pixelated }
.lrp-hooks .picture { display: inline-block; position: relative; vertical-align: top;
  width: min(100%, 20em); border: 1px solid var(--line) }
.lrp-hooks .ticks { display: flex; justify-content: space-between; width: 20em;
  margin-top: 0 }
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
# Nothing may be fetched or run, whatever a viewer's own rules are.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


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


def isolated(text: str) -> str:
    """Return a name from anywhere, isolated from what surrounds it.

    Args:
        text: A label, a method or a module.

    Returns:
        A span.
    """
    return f'<span class="name" dir="auto">{escape(text)}</span>'


def steps() -> str:
    """Show all colours of scores, from the most against to the most for.

    Returns:
        A span that no line ends within.
    """
    each = (
        f'<span class="step {class_name(step)}"></span>'
        for step in range(-LEVELS, LEVELS + 1)
    )
    return f'<span class="steps">{"".join(each)}</span>'


def in_lines(spans: Sequence[str], breaks: Sequence[int]) -> str:
    """Put the tokens of a text side by side, in the lines of the text.

    Args:
        spans: The HTML of each token.
        breaks: How many line breaks stand before each.

    Returns:
        What a paragraph holds whose style keeps line breaks.
    """
    # Line breaks are text, so that elements do not depend on what a text says.
    rows = zip(spans, breaks, strict=True)
    return " ".join(f"{'&#10;' * count}{span}" for span, count in rows)
