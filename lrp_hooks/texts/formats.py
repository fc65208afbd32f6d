"""Data files of every format as columns: parquet, csv, tsv and jsonl."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from ..support.extras import require
from ..support.text import one_line

__all__ = ["Columns", "read_columns"]

Columns = Sequence[tuple[str, Any]]
"""Each column's name and what holds its values; two may have one name."""
SEPARATORS = {".csv": ",", ".tsv": "\t"}
ENDINGS = (".parquet", *SEPARATORS, ".jsonl")


def read_columns(
    path: Path, separator: str | None = None, encoding: str | None = None
) -> Columns:
    """Read a file of rows.

    Args:
        path: The file; its ending says the format.
        separator: What stands between the values of a line, whatever the ending.
            Defaults to ``None``: a comma in ``.csv``, a tab in ``.tsv``.
        encoding: Of a file of text. Defaults to ``None``: UTF-8.

    Returns:
        All columns.

    Raises:
        ArgumentError: If there is no such file, it is damaged, or it is of a format
            that has no separator, or no encoding.
    """
    named = repr(str(path))
    read = _reader(path, separator, encoding)
    if read is None:
        raise ArgumentError(
            f"the data file {named} ends in {path.suffix!r}; it must end in one of "
            f"{', '.join(ENDINGS)}."
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
        reason = one_line(str(error), 250)
        raise ArgumentError(
            f"the data file {named} cannot be read: {reason}"
        ) from error


def _reader(
    path: Path, separator: str | None, encoding: str | None
) -> Callable[[Path], Columns] | None:
    """Choose what reads a file.

    Returns:
        A reader; None where its ending tells nothing.

    Raises:
        ArgumentError: If its format has no separator, or no encoding.
    """
    ending, coded = path.suffix.lower(), encoding or "utf-8-sig"
    unread = {".parquet": (separator, encoding), ".jsonl": (separator,)}
    for value in unread.get(ending, ()):
        if value is not None:
            raise ArgumentError(
                f"{value!r} says how a table of text is written, such as .csv, and the "
                f"data file {str(path)!r} ends in {ending!r}. Leave it out."
            )
    if ending in unread:
        return _parquet if ending == ".parquet" else partial(_json_lines, coded)
    own = separator or SEPARATORS.get(ending)
    return None if own is None else partial(_separated, own, coded)


def _separated(separator: str, encoding: str, path: Path) -> Columns:
    """Read values with a separator between them.

    Returns:
        The columns.

    Raises:
        ValueError: If they are no table.
    """
    pandas = require("pandas", "evaluate", "reading tables")
    # A carriage return that ends no line is refused, and kept between quotes.
    with path.open(encoding=encoding, newline="\n") as file, _long_fields():
        try:
            # The engine that refuses quotes in the wrong place. A text may be "NA"
            # or "1", and is not missing or a number then.
            frame = pandas.read_csv(
                file,
                sep=separator,
                header=None,
                dtype=str,
                engine="python",
                keep_default_na=False,
                skip_blank_lines=False,
            )
        except pandas.errors.ParserError as error:
            raise ValueError(
                f"{error}. A value with the separator, a line break or a quote in "
                "it needs quotes around it, and its own quotes doubled."
            ) from error
    if separator == "\t":
        _check_literal(path, encoding, frame.shape)
    names = frame.iloc[0].fillna("").tolist() if len(frame) else []
    if not any(names):
        raise ValueError("its first line names no columns.")
    present = frame.notna().any(axis=1)
    if len(names) > 1:  # of one column, a blank line is a blank value
        frame = frame[: present[present].index[-1] + 1]
    values = frame.iloc[1:].fillna("")
    return [(name, values[i]) for i, name in enumerate(names)]


@contextmanager
def _long_fields() -> Generator[None]:
    """Let a text be as long as it is, for the csv module that pandas reads by."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _check_literal(path: Path, encoding: str, shape: tuple[int, int]) -> None:
    """Refuse a tsv that is whole without quoting also, and has other rows then.

    Raises:
        ValueError: If it is.
    """
    lines = path.read_text(encoding).split("\n")
    while not lines[-1]:
        lines.pop()
    regular = all(line.count("\t") == shape[1] - 1 for line in lines if line)
    if regular and len(lines) > shape[0]:
        raise ValueError(
            f"it has {shape[0] - 1} rows if its quotes protect what stands between "
            f"them, and {len(lines) - 1} if they are plain characters. Write it as "
            ".jsonl, .parquet or .csv."
        )


def _parquet(path: Path) -> Columns:
    parquet = require("pyarrow.parquet", "evaluate", "reading tables")
    with parquet.ParquetFile(path) as file:  # by name: folders make no columns
        table = file.read()
    return list(zip(table.column_names, table.columns, strict=True))


def _json_lines(encoding: str, path: Path) -> Columns:
    """Return the values of objects, None where one lacks a key.

    Raises:
        ValueError: If a line is no object.
    """
    rows: list[dict[str, Any]] = []
    with path.open(encoding=encoding) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, object_pairs_hook=_once_each)
            except ValueError as error:
                raise ValueError(f"line {number} is no JSON: {error}") from error
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is no JSON object.")
            rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return [(name, [row.get(name) for row in rows]) for name in names]


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object.

    Raises:
        ValueError: If it has a key twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = _twice([key for key, _ in pairs])
        raise ValueError(f"an object has the key {twice!r} twice")
    return found


def _twice(names: Sequence[str]) -> str:
    """Return the first name that comes again."""
    return next(name for i, name in enumerate(names) if name in names[:i])
