"""Explanations in a terminal: plain text, or coloured."""

from __future__ import annotations

from ..support.text import cell_width, decimals, signed, visible
from ..views.explanation import Example, Picture, Strip, View
from .colour import LEVELS, ansi, level
from .layout import flow

__all__ = ["explanation_text", "picture_lines"]


def explanation_text(shown: View, colour: bool, width: int) -> str:
    """Write an explanation.

    Args:
        shown: What there is to show.
        colour: True for a heat map, false for a list of tokens and scores.
        width: Columns to wrap the heat map at.

    Returns:
        Lines of text, without a newline at the end.
    """
    lines = [f"method  {visible(shown.method)}"]
    for example in shown.examples:
        target = f"target  {visible(example.told)}" if example.target else ""
        if target and shown.aside:
            target += f" ({shown.aside})"
        output = f"output  {signed(example.output, example.places)}"
        delta = "" if example.delta is None else f"delta   {example.delta:+.1e}"
        lines += [*filter(None, [target, output, delta]), ""]
        for part in example.parts:
            lines += _part(part, shown, width if colour else None)
        lines += [*_account(example), ""]
    if colour:
        lines.append(_legend(shown))
    return "\n".join(lines).rstrip("\n")


def _part(part: Strip | Picture, shown: View, width: int | None) -> list[str]:
    """Return the scores of one tensor: a heat map where there is a width."""
    heading = [visible(part.name)] if part.name else []
    if isinstance(part, Picture):
        body = picture_lines(part, shown.scale, width)
    elif width is None:
        body = _list(part, decimals(shown.scale))
    else:
        body = _heat(part, shown.scale, width)
    return [*heading, *body, ""]


def _list(strip: Strip, places: int) -> list[str]:
    """Return each token beside its signed score."""
    tokens = [visible(token) for token in strip.texts]
    column = min(max(map(cell_width, tokens), default=0), 24)
    return [
        f"{token}{' ' * (column - cell_width(token))}  {signed(score, places)}"
        for token, score in zip(tokens, strip.scores, strict=True)
    ]


def _heat(strip: Strip, scale: float, width: int) -> list[str]:
    """Return the text, wrapped, each token on its colour."""
    tokens = [visible(token) for token in strip.texts]
    return [
        " ".join(
            ansi(tokens[t], level(strip.scores[t], scale), dim=strip.special[t])
            for t in line
        )
        for line in flow(tokens, width, strip.breaks)
    ]


def picture_lines(picture: Picture, scale: float, width: int | None) -> list[str]:
    """Write an image of scores.

    Args:
        picture: The scores.
        scale: The score of full colour.
        width: Columns of the coloured map; None for numbers in one line.

    Returns:
        Lines.
    """
    if width is None:
        return [_summary(picture)]
    lines = _mosaic(picture, scale, width)
    return [*lines, "   ".join(picture.ticks)] if picture.ticks else lines


def _mosaic(picture: Picture, scale: float, width: int) -> list[str]:
    """Return an image, two columns for each pixel, every n-th pixel if it is wide."""
    stride = max(1, -(-2 * picture.scores.shape[1] // width))
    return [
        "".join(ansi("  ", level(value, scale)) for value in row)
        for row in picture.scores[::stride, ::stride].tolist()
    ]


def _summary(picture: Picture) -> str:
    """Return an image, or what goes on in time, in one line."""
    scores = picture.scores.double()
    least, most, total = scores.min().item(), scores.max().item(), scores.sum().item()
    places = decimals(max(abs(least), abs(most)))
    what = f"image {scores.shape[0]} x {scores.shape[1]}"
    if picture.ticks:
        what = (
            f"{scores.shape[1]} moments from {picture.ticks[0]} to {picture.ticks[-1]}"
        )
    return (
        f"{what}: scores from "
        f"{signed(least, places)} to {signed(most, places)}, sum {signed(total, 4)}"
    )


def _account(example: Example) -> list[str]:
    """Return the ledger as a table."""
    account = example.account
    if account is None:
        return []
    sums = (("total", account.total), ("output", example.output))
    terms = (*account.groups, *sums)
    numbers = [(name, signed(value, example.places)) for name, value in terms]
    numbers.append(("error", f"{account.error:.1e}"))
    column = max(len(number) for _, number in numbers)
    return ["ledger", *(f"  {name:<9}  {number:>{column}}" for name, number in numbers)]


def _legend(shown: View) -> str:
    """Return the colours with the numbers that they stand for."""
    places = decimals(shown.scale)
    steps = "".join(ansi(" ", step) for step in range(-LEVELS, LEVELS + 1, 2))
    return f"{signed(-shown.scale, places)} {steps} {signed(shown.scale, places)}"
