"""One diverging scale for all renderers: blue below zero, vermilion above it.

The two hues are told apart with every common kind of colour blindness, and lightness
tells how far from zero a value is.
"""

from __future__ import annotations

import math
import os
import sys
from functools import cache

from rich.color import Color, ColorSystem
from rich.style import Style

__all__ = [
    "LEVELS",
    "ansi",
    "css",
    "has_colours",
    "level",
    "rgb",
]

Rgb = tuple[int, int, int]

LEVELS = 12
"""Steps on either side of zero."""

POSITIVE: Rgb = (213, 94, 0)
NEGATIVE: Rgb = (0, 114, 178)
LIGHT: Rgb = (255, 255, 255)
DARK: Rgb = (27, 29, 33)


def level(value: float, scale: float) -> int:
    """Place a value on the scale.

    Args:
        value: A score; one that is not finite counts as zero.
        scale: The largest absolute score.

    Returns:
        From ``-LEVELS`` to ``LEVELS``; 0 only where nothing of the colour would show.
    """
    if not math.isfinite(value) or scale <= 0:
        return 0
    return round(max(-1.0, min(1.0, value / scale)) * LEVELS)


def rgb(step: int, neutral: Rgb = LIGHT) -> Rgb:
    """Return the colour of a level.

    Args:
        step: From ``-LEVELS`` to ``LEVELS``.
        neutral: The colour of zero. Defaults to white.

    Returns:
        Red, green and blue from 0 to 255.
    """
    hue = POSITIVE if step > 0 else NEGATIVE
    share = abs(step) / LEVELS
    red, green, blue = (
        round(n + (h - n) * share) for n, h in zip(neutral, hue, strict=True)
    )
    return red, green, blue


def ink(background: Rgb) -> Rgb:
    """Return black or white, whichever is easier to read on a background.

    Args:
        background: Red, green and blue from 0 to 255.

    Returns:
        The colour for text, with a contrast ratio of at least 4.5.
    """
    black = (_luminance(background) + 0.05) / 0.05
    white = 1.05 / (_luminance(background) + 0.05)
    return (0, 0, 0) if black >= white else (255, 255, 255)


def css(prefix: str) -> str:
    """Write the style sheet of all levels, for light and dark pages.

    Args:
        prefix: The selector of the box that the rules hold in.

    Returns:
        Classes ``p1`` to ``pN`` above zero and ``n1`` to ``nN`` below it.
    """
    light, dark = (
        "".join(
            f"{prefix} .{class_name(step)}{{background:{hex_code(rgb(step, neutral))};"
            f"color:{hex_code(ink(rgb(step, neutral)))}}}"
            for step in range(-LEVELS, LEVELS + 1)
            if step
        )
        for neutral in (LIGHT, DARK)
    )
    return f"{light}@media (prefers-color-scheme:dark){{{dark}}}"


def class_name(step: int) -> str:
    """Name the class of a level.

    Args:
        step: From ``-LEVELS`` to ``LEVELS``.

    Returns:
        ``"z"`` for zero, else ``"p"`` or ``"n"`` and the distance from zero.
    """
    return f"{'p' if step > 0 else 'n'}{abs(step)}" if step else "z"


def ansi(text: str, step: int, *, dim: bool = False) -> str:
    """Colour a text for a terminal of 256 colours.

    Args:
        text: A text without control characters.
        step: From ``-LEVELS`` to ``LEVELS``; zero leaves the terminal's own colours.
        dim: Whether to set it off as less important.

    Returns:
        The text between escape sequences.
    """
    return _style(step, dim).render(text, color_system=ColorSystem.EIGHT_BIT)


@cache
def _style(step: int, dim: bool) -> Style:
    """Return the style of a level on a terminal."""
    if not step:
        return Style(dim=dim or None)
    background = rgb(step)
    ground, text = Color.from_rgb(*background), Color.from_rgb(*ink(background))
    return Style(color=text, bgcolor=ground, dim=dim or None)


def _luminance(colour: Rgb) -> float:
    """Return the relative luminance of an sRGB colour (WCAG 2)."""
    linear = [
        c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4
        for c in colour
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def hex_code(colour: Rgb) -> str:
    """Write a colour for a style sheet.

    Args:
        colour: Red, green and blue from 0 to 255.

    Returns:
        For example ``"#d55e00"``.
    """
    return "#{:02x}{:02x}{:02x}".format(*colour)


def has_colours() -> bool:
    """Tell whether standard output is a terminal that wants colours.

    Returns:
        False where ``NO_COLOR`` is set or the terminal is dumb.
    """
    return (
        sys.stdout.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    )
