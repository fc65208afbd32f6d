"""Data sets of every kind become the same rows."""

import hashlib

import pandas
import pyarrow.parquet
import pytest
import torch

from lrp_hooks import ArgumentError
from lrp_hooks.many.data import read_data
from many_texts import some_texts

TEXTS = some_texts(23)
LABELS = [number % 2 for number in range(23)]
ROWS = [{"text": t, "label": y} for t, y in zip(TEXTS, LABELS, strict=True)]
COLUMNS = ("text", "label")


class Columns:
    """What `datasets` loads, as far as it is used."""

    column_names = ("other", "text", "label")
    _fingerprint = "abc"

    def __init__(self, names=column_names):
        self.names = names

    def __len__(self):
        return len(ROWS)

    def __getitem__(self, row):
        raise AssertionError("read one after the other")

    def select_columns(self, names):
        return Columns(names)

    def __iter__(self):
        return iter([{n: row[n] for n in self.names} for row in ROWS])


def loader():
    """A DataLoader collates numbers to tensors."""
    return torch.utils.data.DataLoader(ROWS, batch_size=5)


FRAME = pandas.DataFrame(ROWS).assign(other=1)
KINDS = {
    "mappings": lambda _: iter(ROWS),
    "batches of columns": lambda _: [
        {"text": TEXTS[:9], "label": LABELS[:9]},
        {"text": TEXTS[9:], "label": LABELS[9:]},
    ],
    "batches of rows": lambda _: [ROWS[:4], ROWS[4:]],
    "loader": lambda _: loader(),
    "frame": lambda _: FRAME,
    "datasets": lambda _: Columns(),
    "parquet": lambda folder: written(folder, "to_parquet", "data.parquet"),
    "csv": lambda folder: written(folder, "to_csv", "data.csv"),
}


def written(folder, how, name):
    getattr(FRAME, how)(folder / name, index=False)
    return folder / name


@pytest.mark.parametrize("kind", KINDS)
def test_rows(kind, tmp_path):
    found = read_data(KINDS[kind](tmp_path), COLUMNS)
    rows = [dict(row) for row in found.rows]
    if kind == "csv":
        rows = [{**row, "label": int(row["label"])} for row in rows]
    assert rows == ROWS
    assert found.total in {23, None}


def test_texts_alone():
    for data in (TEXTS, iter(TEXTS), pandas.Series(TEXTS), [TEXTS[:5], TEXTS[5:]]):
        assert [row["text"] for row in read_data(data, ("text",)).rows] == TEXTS


def test_a_folder_of_files_is_read_in_order_and_in_pieces(tmp_path):
    table = pyarrow.Table.from_pandas(FRAME)
    for number in range(3):
        path = tmp_path / f"{number}.parquet"
        pyarrow.parquet.write_table(table[number * 8 : number * 8 + 8], path)
    (tmp_path / "_other.parquet").write_text("no part of it")
    found = read_data(tmp_path, ("text",))
    assert [row["text"] for row in found.rows] == TEXTS
    assert found.total == 23


def test_the_digest_is_of_what_files_hold(tmp_path):
    path = written(tmp_path, "to_parquet", "data.parquet")
    digest = read_data(path, ("text",)).digest
    inner = hashlib.sha256(path.read_bytes()).digest()
    assert digest == hashlib.sha256(inner).hexdigest()


def test_portions_are_the_rows_cut():
    portions = list(read_data(iter(TEXTS), ("text",)).portions(10))
    assert [p.number for p in portions] == [0, 1, 2]
    assert [p.start for p in portions] == [0, 10, 20]
    assert [row["text"] for p in portions for row in p.rows] == TEXTS
    assert len({p.digest for p in portions}) == 3


def test_no_more_than_a_portion_is_read_ahead():
    taken = []
    portions = read_data((taken.append(t) or t for t in TEXTS), ("text",)).portions(4)
    next(portions)
    assert len(taken) == 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (7, "data is a int"),
        ([{"txt": "a"}], "'txt', and no 'text'"),
        ([{"text": ["a", "b"], "label": [1]}], "differ in length"),
        ("nosuch.csv", "does not exist"),
        ("nosuch.parquet", "does not exist"),
        ("data.xlsx", "must end in one of"),
    ],
)
def test_what_is_no_data(data, message):
    with pytest.raises(ArgumentError, match=message):
        list(read_data(data, COLUMNS).rows)


def test_a_file_without_the_column(tmp_path):
    path = written(tmp_path, "to_parquet", "data.parquet")
    with pytest.raises(ArgumentError, match="no column 'texts'.*Did you mean 'text'"):
        read_data(path, ("texts",))


def test_rows_without_a_column_that_is_needed():
    rows = read_data(iter([{"text": "a", "label": 1}]), COLUMNS).having("label", "x")
    assert list(rows.rows) == [{"text": "a", "label": 1}]
    rows = read_data([{"text": "a"}], COLUMNS).having("label", "label")
    with pytest.raises(ArgumentError, match="no column 'label' beside 'text'"):
        list(rows.rows)


def test_a_folder_without_files(tmp_path):
    with pytest.raises(ArgumentError, match="without a parquet file"):
        read_data(tmp_path, COLUMNS)


def test_a_damaged_file(tmp_path):
    (tmp_path / "data.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(ArgumentError, match="cannot be read"):
        read_data(tmp_path, COLUMNS)


def test_a_frame_without_the_column_and_one_of_sentences():
    frame = pandas.DataFrame({"review": ["a"], "stars": [1]})
    with pytest.raises(ArgumentError, match="no column 'reviw'; it has 'review', 'sta"):
        read_data(frame, ("reviw",))
    found = read_data(frame.rename(columns={"review": "sentence"}), ("text", "stars"))
    assert list(found.rows) == [{"text": "a", "stars": 1}]
