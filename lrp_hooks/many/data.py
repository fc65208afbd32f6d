"""Data sets of any kind as rows, and rows as portions of work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from ..support.extras import require
from ..support.suggest import did_you_mean
from ..texts.formats import read_columns
from ..texts.listing import as_list
from .identity import print_of

__all__ = ["Data", "Portion", "read_data"]

Row = Mapping[str, Any]
READ_AHEAD = 1024
"""Rows of a parquet file that are read at once."""
BLOCK = 2**20
TEXT, ALSO_TEXT = "text", "sentence"
"""What files call their texts, if nothing else is said."""


@dataclass(frozen=True)
class Portion:
    """Rows that are explained together; data alone decides which.

    Attributes:
        number: Which portion of the data this is.
        start: The number of its first row.
        rows: Columns by name, for each row.
    """

    number: int
    start: int
    rows: Sequence[Row]

    @property
    def digest(self) -> str:
        """Tell its rows from others."""
        text = json.dumps(print_of(self.rows), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Data:
    """Rows that are read once, one after the other.

    Attributes:
        rows: The rows.
        total: How many, if that is known.
        digest: Tells them from others, if that is known before they are read.
    """

    rows: Iterable[Row]
    total: int | None = None
    digest: str | None = None

    def portions(self, size: int) -> Generator[Portion]:
        """Cut the rows.

        Args:
            size: Rows of a portion, but for the last one.

        Yields:
            The portions; no more than one is held.
        """
        rows, number = iter(self.rows), 0
        while own := list(islice(rows, size)):
            yield Portion(number, number * size, own)
            number += 1

    def having(self, name: str, argument: str) -> Data:
        """Refuse rows without a column, by the first of them.

        Args:
            name: The column.
            argument: The argument that names it.

        Returns:
            The same rows, which are looked at when they are read: no such column is an
            `ArgumentError`.
        """

        def checked() -> Iterator[Row]:
            for number, row in enumerate(self.rows):
                if not number and name not in row:
                    raise ArgumentError(
                        f"data has no column {name!r} beside "
                        f"{', '.join(map(repr, row))}. Name one that is there by "
                        f"{argument}=, or leave {argument}= out."
                    )
                yield row

        return replace(self, rows=checked())


def read_data(data: Any, columns: Sequence[str]) -> Data:
    """Understand what holds texts.

    Args:
        data: A file, a folder of parquet files, a data set with named columns, texts,
            or an iterable of texts, of mappings, or of batches of such.
        columns: The columns that are read where they are there; the first one is that
            of texts, and has to be.

    Returns:
        The rows.

    Raises:
        ArgumentError: If it holds none.
    """
    if isinstance(data, str | PathLike):
        path = Path(data)
        return _folder(path, columns) if path.is_dir() else _file(path, columns)
    if hasattr(data, "column_names") and hasattr(data, "select_columns"):
        return _data_set(data, columns)
    if hasattr(data, "columns") and hasattr(data, "to_dict"):  # pandas
        names = _names("data", [*data.columns], columns)
        data = data[[*names]].rename(columns=names).to_dict("list")
    if isinstance(data, Mapping):
        data = [data]
    entries = as_list(data)
    if entries is not None:
        data = entries
    if not isinstance(data, Iterable):
        raise ArgumentError(
            f"data is a {type(data).__name__}; it must be a file, a folder of parquet "
            "files, a data set, or an iterable of texts, of mappings or of batches."
        )
    return Data(_rows(data, columns), _count(data))


def _count(data: Any) -> int | None:
    """Return how many texts a list has; batches of some iterable tell nothing."""
    plain = isinstance(data, list) and not any(isinstance(d, list | dict) for d in data)
    return len(data) if plain else None


def _rows(data: Iterable[Any], columns: Sequence[str]) -> Iterator[Row]:
    return chain.from_iterable(_of_entry(each, columns) for each in data)


def _of_entry(entry: Any, columns: Sequence[str]) -> Iterable[Row]:
    """Return the rows of a text, a mapping of one, or a batch of either."""
    if isinstance(entry, Mapping):
        return _of_mapping(entry, columns)
    batch = as_list(entry) if not isinstance(entry, tuple) else None
    if batch is None:
        return [{columns[0]: entry}]
    return chain.from_iterable(_of_entry(each, columns) for each in batch)


def _of_mapping(entry: Row, columns: Sequence[str]) -> Iterable[Row]:
    """Return a row, or those of a batch whose columns are lists.

    Raises:
        ArgumentError: If it has no text, or its columns differ in length.
    """
    if columns[0] not in entry:
        raise ArgumentError(
            f"data holds mappings with {', '.join(map(repr, entry)) or 'no keys'}, and "
            f"no {columns[0]!r}. Name the column of texts by text=."
        )
    kept = {name: value for name, value in entry.items() if name in columns}
    lists = {name: _listed(value) for name, value in kept.items()}
    texts = lists[columns[0]]
    if texts is None:
        return [kept]
    if any(own is None or len(own) != len(texts) for own in lists.values()):
        raise ArgumentError(
            f"data has a batch whose columns {', '.join(map(repr, kept))} differ in "
            "length; each must have an entry for each text."
        )
    values = zip(*(own or [] for own in lists.values()), strict=True)
    return [dict(zip(lists, row, strict=True)) for row in values]


def _listed(value: Any) -> list[Any] | None:
    """Return the entries of a column; None for one entry, which a chat is, too."""
    found: list[Any] | None
    found = value.tolist() if hasattr(value, "tolist") else as_list(value)
    chat = found and all(isinstance(each, Mapping) for each in found)
    return None if chat or not isinstance(found, list) else found


def _data_set(data: Any, columns: Sequence[str]) -> Data:
    """Read the columns of what `datasets` loads."""
    names = [name for name in data.column_names or columns if name in columns]
    kept = data.select_columns(names) if data.column_names else data
    total = len(data) if hasattr(data, "__len__") else None
    rows = ({name: row[name] for name in names if name in row} for row in kept)
    return Data(rows, total, getattr(data, "_fingerprint", None))


def _file(path: Path, columns: Sequence[str]) -> Data:
    """Read a file; parquet piece by piece."""
    if path.suffix.lower() == ".parquet" and path.is_file() and path.stat().st_size:
        return _parquet([path], columns)
    found = {name: as_list(values) for name, values in read_columns(path)}
    names = _names(_file_named(path), [*found], columns)
    kept = {name: found[own] for own, name in names.items()}
    rows = [
        dict(zip(kept, row, strict=True)) for row in zip(*kept.values(), strict=True)
    ]
    return Data(rows, len(rows), _digest([path]))


def _folder(folder: Path, columns: Sequence[str]) -> Data:
    """Read the parquet files of a folder, in the order of their names.

    Returns:
        The rows.

    Raises:
        ArgumentError: If there is none.
    """
    paths = sorted(
        path
        for path in folder.rglob("*.parquet")
        if not any(p.startswith(("_", ".")) for p in path.relative_to(folder).parts)
    )
    if not paths:
        raise ArgumentError(
            f"data={str(folder)!r} is a folder without a parquet file. Name a file, or "
            "a folder of parquet files."
        )
    return _parquet(paths, columns)


def _parquet(paths: Sequence[Path], columns: Sequence[str]) -> Data:
    parquet = require("pyarrow.parquet", "evaluate", "reading tables")
    total = 0
    for path in paths:
        try:
            with parquet.ParquetFile(path) as file:
                total += file.metadata.num_rows
                _names(_file_named(path), file.schema_arrow.names, columns)
        except (OSError, ValueError) as error:
            if isinstance(error, ArgumentError):
                raise
            raise ArgumentError(
                f"the data file {str(path)!r} cannot be read: {error}"
            ) from error
    return Data(_parquet_rows(paths, columns), total, _digest(paths))


def _parquet_rows(paths: Sequence[Path], columns: Sequence[str]) -> Iterator[Row]:
    parquet = require("pyarrow.parquet", "evaluate", "reading tables")
    for path in paths:
        with parquet.ParquetFile(path) as file:
            names = _names(_file_named(path), file.schema_arrow.names, columns)
            for batch in file.iter_batches(READ_AHEAD, columns=[*names]):
                for row in batch.to_pylist():
                    yield {name: row[own] for own, name in names.items()}


def _names(where: str, found: Sequence[str], columns: Sequence[str]) -> dict[str, str]:
    """Say which columns of a table are read, and what each stands for.

    Returns:
        ``{column of the table: column that is read}``.

    Raises:
        ArgumentError: If the column of texts, the first that is read, is not there.
    """
    names = {name: name for name in found if name in columns}
    if columns[0] == TEXT and TEXT not in found and ALSO_TEXT in found:
        names[ALSO_TEXT] = TEXT
    if columns[0] not in names.values():
        raise ArgumentError(
            f"{where} has no column {columns[0]!r}; it has "
            f"{', '.join(map(repr, found[:12])) or 'no columns at all'}. Name the "
            f"column of texts by text=.{did_you_mean(columns[0], found)}"
        )
    return names


def _file_named(path: Path) -> str:
    return f"the data file {str(path)!r}"


def _digest(paths: Sequence[Path]) -> str:
    """Return a digest of what files hold, one after the other."""
    whole = hashlib.sha256()
    for path in paths:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
        whole.update(digest.digest())
    return whole.hexdigest()
