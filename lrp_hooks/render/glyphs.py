"""Texts in figures: what no installed font can draw is written by its name."""

from __future__ import annotations

import unicodedata
from functools import cache

from ..support.text import visible

__all__ = ["fonts", "written"]

# What writes scripts that the default font lacks, where it is installed.
_OTHERS = (
    "Noto Sans Mono CJK JP",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Emoji",
    "Arial Unicode MS",
)


@cache
def fonts(first: str = "monospace") -> list[str]:
    """List the fonts that text is written in, the later ones for what others lack.

    Args:
        first: The family that is preferred.

    Returns:
        Names as matplotlib takes them; none that is not installed.
    """
    from matplotlib import font_manager

    known = set(font_manager.get_font_names())
    others = [name for name in _OTHERS if name in known]
    return list(dict.fromkeys([first, "monospace", "sans-serif", *others]))


def written(text: str) -> str:
    """Write a text so that `fonts` can draw it.

    Args:
        text: Any string.

    Returns:
        What is visible of it, with ``<grinning face>`` in place of a character that the
        fonts lack, or ``<U+6620>`` where it has no other name.
    """
    known = _drawable()
    return "".join(
        letter if ord(letter) in known else _name(letter)
        for letter in visible(text).replace("␊", "↵")
    )


def _name(letter: str) -> str:
    """Return the name of a character, in brackets."""
    code = f"{ord(letter):04X}"
    name = unicodedata.name(letter, code)
    if name.endswith(code):
        return f"<U+{code}>"
    return f"<{name.lower().removeprefix('symbol for ')}>"


@cache
def _drawable() -> frozenset[int]:
    """Return the characters that at least one of the fonts has."""
    from matplotlib import font_manager

    chosen = [font_manager.FontProperties(family=[name]) for name in fonts()]
    found = map(font_manager.get_font, map(font_manager.findfont, chosen))
    return frozenset().union(*(font.get_charmap() for font in found))
