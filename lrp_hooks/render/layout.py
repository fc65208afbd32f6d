"""Tokens in lines of a fixed-width font."""

from __future__ import annotations

from collections.abc import Sequence

from ..support.text import cell_width

__all__ = ["flow"]


def flow(tokens: Sequence[str], width: int) -> list[list[int]]:
    """Break tokens into lines, one column apart.

    Args:
        tokens: Texts without control characters.
        width: Columns of a line; a token that is wider has a line of its own.

    Returns:
        For each line, the positions of its tokens.
    """
    lines: list[list[int]] = []
    used = 0
    for t, token in enumerate(tokens):
        needed = cell_width(token)
        if lines and used + 1 + needed <= width:
            lines[-1].append(t)
            used += 1 + needed
        else:
            lines.append([t])
            used = needed
    return lines
