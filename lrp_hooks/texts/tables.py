"""Texts and labels from data files: parquet, csv, tsv and jsonl."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from ..support.extras import require
from ..support.files import StrPath
from ..support.suggest import did_you_mean
from ..support.text import one_line

__all__ = ["Label", "read_table"]

Label = int | str
_Columns = Mapping[str, Sequence[Any]]

_TEXT_COLUMNS = ("text", "sentence")
_LABEL_COLUMN = "label"


def read_table(
    path: StrPath, text_column: str | None = None, label_column: str | None = None
) -> tuple[list[str], list[Label] | None]:
    """Read the texts of a data file, and their labels where it has them.

    Args:
        path: A file that ends in ``.parquet``, ``.csv``, ``.tsv`` or ``.jsonl`` (one
            JSON object a line). The text files are UTF-8; the first line of csv and
            tsv names the columns, and a quote protects what separates them.
        text_column: The column of texts. Defaults to ``None``: ``text`` or
            ``sentence``, whichever is there.
        label_column: The column of labels, whole numbers or names; an empty string
            for none. Defaults to ``None``: ``label`` if it is there.

    Returns:
        The texts, blank ones included, and the labels; None if there are none.

    Raises:
        ArgumentError: If the file cannot be read, lacks a column, has no rows, or holds
            something else than texts and labels; of rows, the first is 0.
    """
    named = repr(str(path))
    columns = _read(Path(path), named)
    texts = _column(columns, _text_column(columns, text_column, named), named)
    if not texts:
        raise ArgumentError(f"the data file {named} has no rows. Pass at least one.")
    _check_texts(texts, named)
    if label_column is None and _LABEL_COLUMN in columns:
        label_column = _LABEL_COLUMN
    if not label_column:
        return list(texts), None
    labels = _column(columns, label_column, named)
    return list(texts), _as_labels(labels, named)


def _read(path: Path, named: str) -> _Columns:
    """Return all columns.

    Raises:
        ArgumentError: If there is no such file, or it is damaged.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise ArgumentError(
            f"the data file {named} ends in {path.suffix!r}; it must end in one of "
            f"{', '.join(_READERS)}."
        )
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise ArgumentError(f"the data file {named} {what}. Name a file of rows.")
        if not path.stat().st_size:
            raise ArgumentError(f"the data file {named} is empty. Name a file of rows.")
        return read(path)
    except ArgumentError:
        raise
    # Damaged files raise what the parser of the day raises.
    except Exception as error:
        reason = one_line(str(error), 200)
        raise ArgumentError(
            f"the data file {named} cannot be read: {reason}"
        ) from error


def _separated(separator: str) -> Callable[[Path], _Columns]:
    """Return a reader of values with a separator between them."""

    def read(path: Path) -> _Columns:
        pandas = _require_pandas()
        # A text may be "NA" or "1", and is not missing or a number then.
        frame = pandas.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
        if not isinstance(frame.index, pandas.RangeIndex):
            raise ValueError(
                "its rows have more values than its first line names columns; a text "
                "with a separator in it needs quotes around it."
            )
        columns: dict[str, list[Any]] = frame.to_dict("list")
        return columns

    return read


def _parquet(path: Path) -> _Columns:
    frame = _require_pandas().read_parquet(path, engine="pyarrow")
    return {str(name): frame[name].tolist() for name in frame.columns}


def _json_lines(path: Path) -> _Columns:
    """Return the values of objects, None where one lacks a key.

    Raises:
        ValueError: If a line is no object.
    """
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} is no JSON: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is no JSON object.")
            rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


_READERS: dict[str, Callable[[Path], _Columns]] = {
    ".parquet": _parquet,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".jsonl": _json_lines,
}


def _require_pandas() -> Any:
    """Return pandas."""
    require("pyarrow", "evaluate", "reading tables")  # pandas reads parquet by it
    return require("pandas", "evaluate", "reading tables")


def _text_column(columns: _Columns, given: str | None, named: str) -> str:
    """Return the name of the column of texts.

    Raises:
        ArgumentError: If it goes without saying for none of them, or for two.
    """
    if given is not None:
        return given
    known = [name for name in _TEXT_COLUMNS if name in columns]
    if len(known) != 1:
        raise ArgumentError(
            f"the data file {named} has {'both' if known else 'neither'} a column "
            f"'text' {'and' if known else 'nor'} a column 'sentence'. Say which holds "
            f"the texts; it has {_listed(columns)}."
        )
    return known[0]


def _column(columns: _Columns, name: str, named: str) -> Sequence[Any]:
    """Return a column's values.

    Raises:
        ArgumentError: If there is no such column.
    """
    if name not in columns:
        raise ArgumentError(
            f"the data file {named} has no column {name!r}; it has {_listed(columns)}."
            f"{did_you_mean(name, columns)}"
        )
    return columns[name]


def _listed(columns: _Columns) -> str:
    """Return the names of the columns, or the first twelve."""
    some = ", ".join(map(repr, list(columns)[:12])) or "no columns at all"
    return f"{some}{' and others' * (len(columns) > 12)}"


def _check_texts(texts: Sequence[Any], named: str) -> None:
    """Refuse cells that are no texts."""
    rows = [row for row, text in enumerate(texts) if not isinstance(text, str)]
    _refuse(rows, texts, "texts", "strings", named)


def _as_labels(labels: Sequence[Any], named: str) -> list[Label]:
    """Return whole numbers for strings that are all such, as csv files have them."""
    rows = [row for row, label in enumerate(labels) if not _is_label(label)]
    _refuse(rows, labels, "labels", "whole numbers or names", named)
    plain = [label if isinstance(label, str) else int(label) for label in labels]
    if all(isinstance(label, int) or _is_number(label) for label in plain):
        return [int(label) for label in plain]
    return plain


def _is_label(cell: object) -> bool:
    if isinstance(cell, str):
        return bool(cell.strip())
    return isinstance(cell, Integral) and not isinstance(cell, bool)


def _is_number(label: str) -> bool:
    """Return whether nothing is lost in writing a name as a number."""
    return label.isascii() and label.isdecimal() and (label == "0" or label[0] != "0")


def _refuse(
    rows: Sequence[int], cells: Sequence[Any], what: str, wanted: str, named: str
) -> None:
    """Refuse a column some rows of which hold something else.

    Raises:
        ArgumentError: If there are such rows.
    """
    if rows:
        some = ", ".join(f"{row} ({_quoted(cells[row])})" for row in rows[:5])
        raise ArgumentError(
            f"the data file {named} has {len(rows)} of {len(cells)} rows whose {what} "
            f"are no {wanted}: {some}{' and others' * (len(rows) > 5)}; the first row "
            "is 0. Mend them or leave them out."
        )


def _quoted(cell: object) -> str:
    """Return what stands in a cell, cut to a few characters."""
    return one_line(repr(cell), 30)
