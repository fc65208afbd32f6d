"""Tables in lines of a fixed-width font; those on a terminal fit it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .text import terminal_width

__all__ = ["aligned", "beside"]

NARROWEST = 10
"""Characters that a column of names keeps."""
GAP = "  "


def aligned(table: Iterable[tuple[str, ...]]) -> list[str]:
    """Lay out a table of text.

    On a terminal names are cut in their middle where they are too long, and columns
    that still do not fit stand below the others.

    Args:
        table: Rows of equally many cells, the head first.

    Returns:
        One line a row, columns aligned.
    """
    columns = list(zip(*table, strict=True))
    widths = [max(map(len, column)) for column in columns]
    room = terminal_width() or sum(widths) + len(GAP) * len(widths)
    widths = _fitted(columns, widths, room)
    first, *others = (
        [_cut(cell, width) for cell in column]
        for column, width in zip(columns, widths, strict=True)
    )
    cells = [[GAP + cell for cell in column] for column in others]
    wide = [len(GAP) + width for width in widths[1:]]
    return beside(first, list(zip(wide, cells, strict=True)), room - widths[0])


def beside(
    heads: Sequence[str],
    columns: Sequence[tuple[int, Sequence[str]]],
    width: int,
) -> list[str]:
    """Lay columns beside each other, and below each other what does not fit.

    Args:
        heads: What each line begins with.
        columns: How wide each is, and what it has in each line.
        width: Columns of a line behind what it begins with.

    Returns:
        Lines; an empty one before those that go on.
    """
    blocks: list[list[Sequence[str]]] = []
    used = width
    for wide, cells in columns:
        if not blocks or used + wide > width:
            blocks.append([])
            used = 0
        blocks[-1].append(cells)
        used += wide
    lines: list[str] = []
    for block in blocks:
        rows = zip(heads, *block, strict=True)
        lines += [*[""] * bool(lines), *("".join(row).rstrip() for row in rows)]
    return lines


def _fitted(
    columns: Sequence[Sequence[str]], widths: Sequence[int], room: int
) -> list[int]:
    """Take from the widest columns of names, not of numbers, until all fit."""
    names = [i for i, column in enumerate(columns) if not _holds_numbers(column)]
    fitted = list(widths)
    while sum(fitted) + len(GAP) * (len(fitted) - 1) > room:
        widest = max(names, key=lambda i: fitted[i], default=None)
        if widest is None or fitted[widest] <= NARROWEST:
            break
        fitted[widest] -= 1
    return fitted


def _holds_numbers(column: Sequence[str]) -> bool:
    """Return whether a column has numbers below its head."""
    try:
        list(map(float, column[1:]))
    except ValueError:
        return False
    return True


def _cut(cell: str, width: int) -> str:
    """Return a cell in so many columns, without its middle where it is longer."""
    if len(cell) <= width:
        return cell.ljust(width)
    end = (width - 1) // 2
    return f"{cell[: width - 1 - end]}…{cell[len(cell) - end :]}"
