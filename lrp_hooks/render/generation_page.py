"""A page on which each generated token shows what it drew on.

Pointing at a token, or stepping to it with the keyboard, colours what it drew on.
"""

from __future__ import annotations

from ..support.text import decimals, signed, visible
from ..views.generation import STRONGEST, Matrix
from . import pointing
from .document import isolated, steps, styled

__all__ = ["fragment"]

MOST_COLOURED = 150_000
"""Cells of the matrix that a page colours, so that it stays below some megabytes."""


def fragment(shown: Matrix) -> str:
    """Write a part of a page.

    Args:
        shown: What there is to show.

    Returns:
        One ``div`` that brings its own style.
    """
    rows = pointing.levels(shown.scores, shown.scales, _most(shown))
    titles = [_title(shown, t) for t in range(len(rows))]
    return styled(
        f"<style>{pointing.style()}{pointing.rules(rows)}</style>"
        f"<p>{_head(shown)}</p>"
        f'<p class="soft">Point at an underlined token, or step to it with the tab '
        f"key: {_what_is_coloured(shown)} are coloured, each token on its own "
        f"scale, against {steps()} for it.</p>"
        f"{_text(shown, titles, rows)}"
    )


def _text(shown: Matrix, titles: list[str], rows: list[pointing.Levels]) -> str:
    """Return the text; in front of it, as small cells, what is seen or heard."""
    tokens = (shown.tokens, shown.special, titles, rows, shown.breaks)
    return pointing.text(*tokens, grid=shown.grid)


def _head(shown: Matrix) -> str:
    """Return what explained which model, and rather than what."""
    terms = {
        "method": [shown.method],
        "model": [shown.model],
        "rather than": list(shown.rivals),
    }
    return " ".join(
        f'<span class="soft">{term}</span> {", ".join(map(isolated, names))}'
        for term, names in terms.items()
        if any(names)
    )


def _most(shown: Matrix) -> int:
    """Return how many tokens of each row are coloured."""
    return max(STRONGEST, MOST_COLOURED // len(shown.targets))


def _what_is_coloured(shown: Matrix) -> str:
    if len(shown.tokens) <= _most(shown):
        return "the tokens that it drew on"
    return f"the {_most(shown)} tokens that it drew on most"


def _title(shown: Matrix, t: int) -> str:
    """Return a generated token's logit and what it drew on most, in one line."""
    places = decimals(shown.scales[t])
    parts = [
        f"{visible(token)} {signed(score, places)}"
        for token, score in shown.strongest(t)
    ]
    target, output = visible(shown.targets[t]), signed(shown.output[t], places)
    return f"{target}: {output} = {'; '.join(parts)}; ..."
