"""A page of an answer: choose a span, and see what of the prompt it drew on.

Without any script: the style sheet colours what the chosen span has scores for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from ..support.passages import Passage
from ..support.text import decimals, escape, one_line, signed
from ..views.answer import Cited
from .colour import class_name, level
from .document import isolated, steps, styled
from .pointing import style as shades
from .terms import terms_html

__all__ = ["fragment"]

_BREAK = re.compile(r"\r\n|\r|\n")
QUOTED = 160
"""Characters of a source that is quoted beside a span."""

_STYLE = """
.lrp-hooks .answer input { position: absolute; opacity: 0; pointer-events: none }
.lrp-hooks .answer label { cursor: pointer; border-bottom: 2px solid var(--soft) }
.lrp-hooks .answer label:hover { outline: 1px solid var(--soft) }
.lrp-hooks .answer input:checked + label { outline: 2px solid var(--fg);
  border-radius: .25em }
.lrp-hooks .answer input:focus-visible + label { outline: 3px solid var(--fg) }
.lrp-hooks p.whole { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.8 }
.lrp-hooks .of, .lrp-hooks .answer label { unicode-bidi: isolate }
.lrp-hooks .of { border-radius: .25em; padding: .1em .15em }
.lrp-hooks .drawn { display: none }
.lrp-hooks .drawn blockquote { margin: .2em 0 .2em 1em; overflow-wrap: anywhere }
"""


def fragment(shown: Cited) -> str:
    """Write a part of a page.

    Args:
        shown: What there is to show.

    Returns:
        One ``div`` that brings its own style.
    """
    own = _own_name(shown)
    return styled(
        f"<style>{' '.join(_STYLE.split())}{shades()}{_rules(shown, own)}</style>"
        f'<div class="{own}"><p>{_head(shown)}</p>'
        f'<p class="soft">Choose an underlined part of the answer: what it drew on is '
        f"coloured in the prompt, against {steps()} for it.</p>"
        f'<p class="soft">answer</p>{_answer(shown, own)}{_drawn(shown)}'
        f'<p class="soft">prompt</p>{_prompt(shown)}</div>'
    )


def _own_name(shown: Cited) -> str:
    """Name a class after what is shown: a notebook may hold several fragments."""
    known = repr((shown.answer, shown.scores, shown.method))
    return f"u{hashlib.sha256(known.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _head(shown: Cited) -> str:
    terms = {"method": shown.method, "model": shown.model}
    return " ".join(
        f'<span class="soft">{term}</span> {isolated(name)}'
        for term, name in terms.items()
        if name
    )


def _rules(shown: Cited, own: str) -> str:
    """Write which sources are coloured, and which panel is shown, for which span."""
    found = []
    for a, row in enumerate(shown.scores):
        chosen = f".{own}:has(#{own}-{a}:checked)"
        found.append(f"{chosen} .d{a}{{display:block}}")
        by_level: dict[int, list[int]] = {}
        for s, score in enumerate(row):
            step = level(score, shown.scales[a])
            if step:
                by_level.setdefault(step, []).append(s)
        for step, members in by_level.items():
            names = ",".join(f".k{s}" for s in members)
            name = class_name(step)
            found.append(
                f"{chosen} :is({names}){{background:var(--{name});"
                f"color:var(--i{name})}}"
            )
    return "".join(found)


def _answer(shown: Cited, own: str) -> str:
    """Return the answer, each span a choice."""
    choices = [
        f'<input type="radio" name="{own}" id="{own}-{a}"{" checked" * (a == 0)}>'
        f'<label for="{own}-{a}" title="{_sum(shown, a)}">{_lines(span.text)}</label>'
        for a, span in enumerate(shown.spans)
    ]
    whole = _interleaved(shown.answer, shown.spans, choices)
    return f'<p class="whole answer text" dir="auto">{whole}</p>'


def _prompt(shown: Cited) -> str:
    """Return the prompt, each source a stretch that can be coloured."""
    marked = [
        f'<span class="of k{s}">{_lines(source.text)}</span>'
        for s, source in enumerate(shown.sources)
    ]
    whole = _interleaved(shown.prompt, shown.sources, marked)
    return f'<p class="whole text" dir="auto">{whole}</p>'


def _interleaved(text: str, passages: Sequence[Passage], marked: list[str]) -> str:
    """Put what stands for passages in the place of these."""
    parts, at = [], 0
    for passage, mark in zip(passages, marked, strict=True):
        parts += [_between(text[at : passage.start]), mark]
        at = passage.end
    return "".join([*parts, _between(text[at:])])


def _between(text: str) -> str:
    """Return what stands between passages, isolated where it is more than space."""
    lines = _lines(text)
    return f'<span class="of">{lines}</span>' if text.strip() else lines


def _lines(text: str) -> str:
    """Return a text from anywhere with its line breaks."""
    return "&#10;".join(map(escape, _BREAK.split(text)))


def _drawn(shown: Cited) -> str:
    """Return a panel for each span: its strongest sources, and its sum as bars."""
    return "".join(_panel(shown, a) for a in range(len(shown.spans)))


def _panel(shown: Cited, a: int) -> str:
    places = _places(shown, a)
    quotes = "".join(
        f'<blockquote>{_share(shown, a, score)} <span class="soft">'
        f"{signed(score, places)}</span> "
        f"{isolated(one_line(shown.sources[s].text, QUOTED))}</blockquote>"
        for s, score in shown.strongest(a)
    )
    bars = ""
    if shown.terms is not None:
        total = f'<tr class="sum"><th scope="row">output</th><td>{_sum(shown, a)}</td>'
        bars = (
            f"<table><caption>where it came from</caption>"
            f"{terms_html(shown.terms[a], places)}{total}<td></td></tr></table>"
        )
    return f'<section class="drawn d{a}">{quotes}{bars}</section>'


def _share(shown: Cited, a: int, score: float) -> str:
    """Return a score as a share of the output, where it is a part of that."""
    output = shown.outputs[a]
    if shown.terms is None or not output or abs(score) > 10 * abs(output):
        return ""
    return f"<b>{round(100 * score / output)} %</b>"


def _places(shown: Cited, a: int) -> int:
    return decimals(max(shown.scales[a], abs(shown.outputs[a])))


def _sum(shown: Cited, a: int) -> str:
    return signed(shown.outputs[a], _places(shown, a))
