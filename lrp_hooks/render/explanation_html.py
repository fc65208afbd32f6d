"""Explanations as HTML: scores behind their tokens, pictures, ledgers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..support.text import decimals, escape, reading_direction, signed
from ..views.explanation import Account, Example, Picture, Strip, View
from .colour import class_name, level
from .document import in_lines, isolated, steps
from .pictures import data_url, pixels
from .terms import terms_html

__all__ = ["explanation_html", "heat_html", "seen_html", "strip_html", "ticks_html"]

MOST_CELLS = 1024
"""Scores of an image that can be pointed at, so that a page stays small."""


def explanation_html(shown: View) -> str:
    """Write an explanation.

    Args:
        shown: What there is to show.

    Returns:
        The legend and all examples, a part of a `styled` fragment.
    """
    places = decimals(shown.scale)
    examples = "".join(_example(shown, e, places) for e in shown.examples)
    parts = (part for example in shown.examples for part in example.parts)
    has_tokens = any(isinstance(part, Strip) for part in parts)
    return (
        f'<div><p><span class="soft">method</span> {isolated(shown.method)}</p>'
        f"{_legend(shown, places)}{_NUMBERS * has_tokens}{examples}</div>"
    )


# A switch that needs no script and no pointer.
_NUMBERS = (
    '<details class="numbers soft"><summary>numbers</summary>'
    "each score stands behind its token</details>"
)


def _legend(shown: View, places: int) -> str:
    """Return the colours with the numbers that they stand for."""
    beyond = ", some beyond" if shown.beyond else ""
    scale = f"{signed(-shown.scale, places)} {steps()} {signed(shown.scale, places)}"
    if shown.of_target:
        scale = f"against {scale} for the target"
    return f'<p class="soft">{scale}{beyond}</p>'


def _example(shown: View, example: Example, places: int) -> str:
    """Return one example: what was explained, its scores, its ledger."""
    parts = "".join(
        strip_html(part, shown.scale, places)
        if isinstance(part, Strip)
        else _picture(part, shown.scale, places)
        for part in example.parts
    )
    terms = {"prediction": example.prediction, "target": example.target}
    head = "".join(
        f'<span class="soft">{term}</span> {isolated(name)} '
        for term, name in terms.items()
        if name or term == "target"
    )
    if example.target and shown.aside:
        head += f'<span class="soft">({shown.aside})</span> '
    output = signed(example.output, example.places)
    told = f'<span class="soft">output</span> {output}'
    if example.delta is not None:
        told += f' <span class="soft">convergence delta</span> {example.delta:+.1e}'
    return (
        f"<section><p>{head}{told}</p>"
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
    spans = [
        f'<span class="t {class_name(level(score, scale))}{" s" * special}" dir="auto" '
        f'title="{signed(score, places)}">{escape(token)}</span>'
        for token, score, special in rows
    ]
    words = (t for t, s in zip(strip.tokens, strip.special, strict=True) if not s)
    direction = reading_direction(words)
    text = in_lines(spans, strip.breaks)
    return f'{_heading(strip.name)}<p class="text" dir="{direction}">{text}</p>'


def _picture(picture: Picture, scale: float, places: int) -> str:
    """Return an image of scores, beside the picture that it explains."""
    shown = heat_html(picture, scale, places)
    if picture.image is not None and not picture.ticks:
        shown = f"{seen_html(picture.image)} {shown}"
    return f"{_heading(picture.name)}<p>{shown}</p>{ticks_html(picture.ticks)}"


def ticks_html(ticks: Sequence[str]) -> str:
    """Write the time axis below a picture.

    Args:
        ticks: Moments, evenly spread; none of a picture without time.

    Returns:
        A paragraph of a `styled` fragment, or nothing.
    """
    if not ticks:
        return ""
    names = "".join(f"<span>{escape(tick)}</span>" for tick in ticks)
    return f'<p class="ticks soft">{names}</p>'


def heat_html(picture: Picture, scale: float, places: int) -> str:
    """Write an image of scores, over the picture that it explains.

    Args:
        picture: The scores.
        scale: The score of full colour.
        places: Decimals of the numbers.

    Returns:
        A ``span`` of a `styled` fragment.
    """
    label = f"heat map from {signed(-scale, places)} to {signed(scale, places)}"
    heat = data_url(pixels(picture.scores, scale, picture.image))
    parts = f'<img alt="{label}" src="{heat}">{_cells(picture, places)}'
    return f'<span class="picture">{parts}</span>'


def seen_html(image: Tensor) -> str:
    """Write the picture that is explained.

    Args:
        image: Bytes ``[H, W, 3]``.

    Returns:
        A ``span`` of a `styled` fragment.
    """
    seen = f'<img alt="what was explained" src="{data_url(image)}">'
    return f'<span class="picture">{seen}</span>'


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
        f"<table><caption>ledger</caption>{terms_html(account.groups, places)}{rows}"
        f"</table>{_sources(account, places)}"
    )


def _sources(account: Account, places: int) -> str:
    """Return all sources, folded away."""
    if not account.sources:
        return ""
    return (
        f'<details><summary class="soft">all {len(account.sources)} sources</summary>'
        f"<table>{terms_html(account.sources, places)}</table></details>"
    )


def _heading(name: str) -> str:
    return f'<p class="soft">{isolated(name)}</p>' if name else ""
