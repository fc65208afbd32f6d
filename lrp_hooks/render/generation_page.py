"""A page on which each generated token shows what it drew on.

Pointing at a token, or stepping to it with the keyboard, colours what it drew on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..support.text import decimals, signed, visible
from . import pointing
from .colour import LEVELS, class_name
from .generation_view import STRONGEST, Matrix
from .html import document, isolated, styled

if TYPE_CHECKING:
    from ..generation import GenerationExplanation

__all__ = ["fragment", "page"]

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
    rows = pointing.levels(shown.scores, shown.scales, _most(shown))
    titles = [_title(shown, t) for t in range(len(rows))]
    steps = "".join(
        f'<span class="step {class_name(step)}"></span>'
        for step in range(-LEVELS, LEVELS + 1)
    )
    return styled(
        f"<style>{pointing.style()}{pointing.rules(rows)}</style>"
        f"<p>{_head(explanation)}</p>"
        f'<p class="soft">Point at an underlined token, or step to it with the tab '
        f"key: {_what_is_coloured(shown)} are coloured, each token on its own "
        f"scale, against {steps} for it.</p>"
        f"{pointing.text(shown.tokens, shown.special, titles, rows)}"
    )


def _head(explanation: GenerationExplanation) -> str:
    """Return what explained which model, and rather than what."""
    rule_set = explanation.meta.get("rules", "")
    method = f"{explanation.method} ({rule_set})" if rule_set else explanation.method
    terms = {"method": [method], "model": [explanation.meta.get("model", "")]}
    terms["rather than"] = list(dict.fromkeys(explanation.rivals))
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
