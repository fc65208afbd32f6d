"""Texts and labels from data files: parquet, csv, tsv and jsonl."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from numbers import Integral
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from ..support.files import StrPath
from ..support.suggest import did_you_mean
from ..support.text import one_line
from .formats import Columns, read_columns
from .given import Text
from .listing import as_list

__all__ = ["Label", "read_table"]

Label = int | str
_TEXT_COLUMNS = ("text", "sentence")
_LABEL_COLUMN = "label"
_MISSING = {"", "nan", "<NA>"}  # as pandas writes them
# What loses nothing when it is read as a whole number.
_WHOLE = re.compile(r"\A(0|[1-9][0-9]{0,17})\.0+\Z")
_NUMBER = re.compile(r"(0|[1-9][0-9]{0,17})(\.0+)?")


def read_table(
    path: StrPath,
    text_column: str | None = None,
    label_column: str | None = None,
    pair_column: str | None = None,
    *,
    gaps: bool = False,
    separator: str | None = None,
    encoding: str | None = None,
) -> tuple[list[Text], list[Label | None] | None]:
    """Read the texts of a data file, and their labels where it has them.

    Of csv and tsv the first line names the columns, and each row after it counts,
    blank lines between rows as well. A value may stand in double quotes, and must where
    the separator, a line break or a double quote is in it, which is doubled then. A tsv
    whose quotes are plain characters, as GLUE's are, is refused where that shows.

    Args:
        path: A file that ends in ``.parquet``, ``.csv``, ``.tsv`` or ``.jsonl`` (one
            JSON object a line). The text files are UTF-8.
        text_column: The column of texts. Defaults to ``None``: ``text`` or
            ``sentence``, whichever is there.
        label_column: The column of labels, whole numbers (``1.0`` is one, too) or
            names; an empty string for none. Defaults to ``None``: ``label`` if it is
            there.
        pair_column: The column of second texts. Defaults to ``None``: there are none.
        gaps: Whether a label may be missing, None then, or be neither a whole number
            nor a name, what is written there then. Defaults to ``False``: such a file
            is refused.
        separator: What stands between values. Defaults to ``None``: what the ending of
            the file says.
        encoding: Of a text file. Defaults to ``None``: UTF-8.

    Returns:
        The texts, or pairs of texts, blank ones included, and the labels; None if there
        are none. A file that cannot be read, lacks a column, has no rows, or holds
        something else than texts and labels is refused; of rows, the first is 0.
    """
    named = repr(str(path))
    columns = read_columns(Path(path), separator, encoding)
    name = _text_column(columns, text_column, named)
    texts: list[Text] = list(_texts(columns, name, named))
    if pair_column is not None:
        pairs = _texts(columns, pair_column, named)
        texts = list(zip(_texts(columns, name, named), pairs, strict=True))
    if label_column is None and _LABEL_COLUMN in dict(columns):
        label_column = _LABEL_COLUMN
    if not label_column:
        return texts, None
    labels = _column(columns, label_column, named)
    return texts, _as_labels(labels, None if gaps else named)


def _texts(columns: Columns, name: str, named: str) -> list[str]:
    """Return a column of texts.

    Raises:
        ArgumentError: If it is empty, or holds something else.
    """
    texts = _column(columns, name, named)
    if not texts:
        raise ArgumentError(f"the data file {named} has no rows. Pass at least one.")
    rows = [row for row, text in enumerate(texts) if not isinstance(text, str)]
    _refuse(rows, texts, "texts are no strings", named)
    return texts


def _text_column(columns: Columns, given: str | None, named: str) -> str:
    """Return the name of the column of texts.

    Raises:
        ArgumentError: If it goes without saying for none of them, or for two.
    """
    if given is not None:
        return given
    known = [name for name in _TEXT_COLUMNS if name in dict(columns)]
    if len(known) != 1:
        raise ArgumentError(
            f"the data file {named} has {'both' if known else 'neither'} a column "
            f"'text' {'and' if known else 'nor'} a column 'sentence'. Say which holds "
            f"the texts; it has {_listed(columns)}."
        )
    return known[0]


def _column(columns: Columns, name: str, named: str) -> list[Any]:
    """Return a column's values.

    Raises:
        ArgumentError: If there is no such column, or more than one.
    """
    found = [as_list(values) for own, values in columns if own == name]
    if len(found) > 1:
        raise ArgumentError(
            f"the data file {named} has {len(found)} columns {name!r}; it has "
            f"{_listed(columns)}. Rename all but one."
        )
    if not found or found[0] is None:
        raise ArgumentError(
            f"the data file {named} has no column {name!r}; it has {_listed(columns)}."
            f"{did_you_mean(name, dict(columns))}"
        )
    return found[0]


def _listed(columns: Columns) -> str:
    """Return the names of the columns, or the first twelve."""
    names = [repr(name) for name, _ in columns]
    some = ", ".join(names[:12]) or "no columns at all"
    return f"{some}{' and others' * (len(names) > 12)}"


def _as_labels(labels: Sequence[Any], named: str | None) -> list[Label | None]:
    """Return whole numbers for labels that are all such, as csv files write them.

    Args:
        labels: What the file has.
        named: Its name in errors; None to let labels be missing.
    """
    plain = [_as_label(label) for label in labels]
    if named is None:  # each for itself, since others may be no numbers
        pairs = zip(labels, plain, strict=True)
        plain = [_as_written(cell) if x is None else x for cell, x in pairs]
        return [_WHOLE.sub(r"\1", x) if isinstance(x, str) else x for x in plain]
    rows = [row for row, label in enumerate(plain) if label is None]
    what = "labels are no whole numbers or names"
    _refuse(rows, labels, what, named, " Or read no labels: label_column=''.")
    known = (label for label in plain if label is not None)
    if all(isinstance(label, int) or _NUMBER.fullmatch(label) for label in known):
        return [x if x is None else int(str(x).partition(".")[0]) for x in plain]
    return plain


def _as_label(cell: object) -> Label | None:
    """Return a name, or a whole number; None for anything else."""
    if isinstance(cell, str):
        return cell if cell.strip() else None
    number = isinstance(cell, Integral | float | Decimal) and not isinstance(cell, bool)
    return int(cell) if number and cell % 1 == 0 else None  # type: ignore[operator, call-overload]


def _as_written(cell: object) -> str | None:
    """Return what stands in a cell that is no label; None where there is nothing."""
    written = "" if cell is None else str(cell).strip()
    return None if written in _MISSING else written


def _refuse(
    rows: Sequence[int], cells: Sequence[Any], what: str, named: str, more: str = ""
) -> None:
    """Refuse a column some rows of which hold something else.

    Raises:
        ArgumentError: If there are such rows.
    """
    if rows:
        some = ", ".join(
            f"{row} ({one_line(repr(cells[row]), 30)})" for row in rows[:5]
        )
        raise ArgumentError(
            f"the data file {named} has {len(rows)} of {len(cells)} rows whose {what}: "
            f"{some}{' and others' * (len(rows) > 5)}; the first row is 0. Mend them "
            f"or leave them out.{more}"
        )
