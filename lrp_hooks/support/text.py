"""Text from anywhere, made safe to show: nothing in it can act on what surrounds it."""

from __future__ import annotations

import html
import math
import shutil
import sys
import unicodedata
from collections.abc import Iterable

from rich.cells import cell_len

__all__ = [
    "both_signs",
    "cell_width",
    "decimals",
    "escape",
    "one_line",
    "reading_direction",
    "signed",
    "terminal_width",
    "visible",
]

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_OPENING_ISOLATES = "\u2066\u2067\u2068"
_CLOSING_ISOLATE = "\u2069"
_DIRECTION_MARKS = (
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
_BREAKS = "\u2028\u2029"


def _picture(code: int) -> str:
    """Return what stands for a control character: its symbol, where it has one."""
    if code < 0x20:
        return chr(0x2400 + code)
    return "\N{SYMBOL FOR DELETE}" if code == 0x7F else REPLACEMENT


_CONTROLS = {code: _picture(code) for code in (*range(0x20), *range(0x7F, 0xA0))}
_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), REPLACEMENT)
_INVISIBLE = {**_CONTROLS, **_SURROGATES}
_DIRECTING = dict.fromkeys(map(ord, _DIRECTION_MARKS + _BREAKS), REPLACEMENT)
_REFERENCES = {ord(mark): f"&#x{ord(mark):x};" for mark in _DIRECTION_MARKS + _BREAKS}


def visible(text: str) -> str:
    """Replace all that would act on a terminal or a figure instead of being seen.

    Args:
        text: Any string, lone surrogates and control characters included.

    Returns:
        The text with a symbol or U+FFFD in place of each control character,
        surrogate, direction mark and line or paragraph separator.
    """
    return text.translate(_INVISIBLE | _DIRECTING)


def escape(text: str) -> str:
    """Escape a text for HTML, to stand in an element that isolates its direction.

    Direction marks stay, as character references. One that would close the isolation
    from within is replaced, and so are control characters and surrogates.

    Args:
        text: Any string.

    Returns:
        HTML that shows the text and has no effect on what surrounds it.
    """
    safe = _closed(text).translate(_INVISIBLE)
    return html.escape(safe).translate(_REFERENCES)


def _closed(text: str) -> str:
    """Return the text without closing marks that nothing in it has opened."""
    depth, kept = 0, []
    for character in text:
        if character in _OPENING_ISOLATES:
            depth += 1
        elif character == _CLOSING_ISOLATE:
            depth -= 1
        kept.append(character if depth >= 0 else REPLACEMENT)
        depth = max(depth, 0)
    return "".join(kept)


def one_line(text: str, limit: int) -> str:
    """Put a message on one line.

    Args:
        text: The message, whatever it quotes.
        limit: The largest number of characters.

    Returns:
        The message with its lines joined by spaces, cut to the limit.
    """
    line = visible(" ".join(line.strip() for line in text.splitlines()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def cell_width(text: str) -> int:
    """Count the columns of a text in a fixed-width font.

    Args:
        text: A text without control characters.

    Returns:
        Two for each wide character (East Asian, emoji), none for a combining one.
    """
    return cell_len(text)


def terminal_width() -> int | None:
    """Tell how wide the terminal is that standard output goes to.

    Returns:
        Columns; None where it goes to a file or a pipe, which have no width.
    """
    if not (sys.stdout and sys.stdout.isatty()):
        return None
    return shutil.get_terminal_size().columns


def reading_direction(words: Iterable[str]) -> str:
    """Find which way a text is read: as its first letter is.

    Args:
        words: The text, in any pieces.

    Returns:
        ``"ltr"`` or ``"rtl"``.
    """
    for character in (character for word in words for character in word):
        direction = unicodedata.bidirectional(character)
        if direction in {"L", "R", "AL"}:
            return "ltr" if direction == "L" else "rtl"
    return "ltr"


def decimals(scale: float) -> int:
    """Choose how many decimals tell numbers up to ``scale`` apart.

    Args:
        scale: The largest absolute value.

    Returns:
        Four, or more for small numbers, so that four digits are significant.
    """
    if not math.isfinite(scale) or scale <= 0:
        return 4
    return min(max(4, 3 - math.floor(math.log10(scale))), 20)


def signed(value: float, places: int) -> str:
    """Write a number as a signed decimal.

    Args:
        value: The number.
        places: How many decimals.

    Returns:
        For example ``"+0.1250"``; a zero is never negative.
    """
    text = f"{value:+.{places}f}"
    return "+" + text[1:] if not text.strip("+-0.") else text


def both_signs(size: float) -> str:
    """Write the largest size of numbers of either sign.

    Args:
        size: The largest absolute value.

    Returns:
        For example ``"±0.1250"``.
    """
    return f"±{size:.{decimals(size)}f}"
