"""Tokens in lines of a fixed-width font."""

from __future__ import annotations

from collections.abc import Sequence

from ..support.text import cell_width

__all__ = ["flow"]


def flow(
    tokens: Sequence[str], width: int, breaks: Sequence[int] | None = None
) -> list[list[int]]:
    """Break tokens into lines, one column apart.

    Args:
        tokens: Texts without control characters.
        width: Columns of a line; a token that is wider has a line of its own.
        breaks: How many lines end before each token in any case. Defaults to ``None``:
            none does.

    Returns:
        For each line, the positions of its tokens; none for an empty line.
    """
    lines: list[list[int]] = [[]]
    used = 0
    for t, token in enumerate(tokens):
        lines += [[] for _ in range(breaks[t] if breaks else 0)]
        needed = cell_width(token)
        if lines[-1] and used + 1 + needed > width:
            lines.append([])
        used = used + 1 + needed if lines[-1] else needed
        lines[-1].append(t)
    return lines if tokens else []
