"""Data files: every format says the same, and what is wrong with one is named."""

import csv
import json
import sys
from decimal import Decimal

import pandas
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_built import calm
from lrp_hooks import ArgumentError
from lrp_hooks.texts.tables import read_table

FORMATS = ("parquet", "csv", "tsv", "jsonl")
TEXTS = ['good, "film"', "NA", "", "1", "a\tb\nc", "映画 film", "null", " x "]


def write(path, columns):
    frame = pandas.DataFrame(columns)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("labels", [[0, 1] * 4, ["no", "yes"] * 4, ["01", "1"] * 4])
def test_formats_agree(tmp_path, kind, labels):
    path = write(tmp_path / f"data.{kind}", {"label": labels, "text": TEXTS})
    assert read_table(path) == (TEXTS, labels)


@pytest.mark.parametrize("kind", FORMATS)
def test_columns_by_name(tmp_path, kind):
    columns = {"text": ["a", "b"], "label": [0, 1], "mood": [1, 0], "body": ["c", "d"]}
    path = write(tmp_path / f"data.{kind.upper()}".lower(), columns)
    assert read_table(path, "body", "mood") == (["c", "d"], [1, 0])
    assert read_table(str(path), label_column="mood") == (["a", "b"], [1, 0])
    assert read_table(path, "body") == (["c", "d"], [0, 1])


@pytest.mark.parametrize("kind", FORMATS)
def test_sentences_without_labels(tmp_path, kind):
    path = write(tmp_path / f"data.{kind}", {"sentence": ["a", "b"], "idx": [1, 2]})
    assert read_table(path) == (["a", "b"], None)


def test_an_ending_in_capitals(tmp_path):
    (tmp_path / "DATA.CSV").write_text("text\na\n")
    assert read_table(tmp_path / "DATA.CSV") == (["a"], None)


@calm
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4)
)
def test_json_lines_hold_any_text(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    rows = [json.dumps({"text": t}, ensure_ascii=False) for t in texts]
    path.write_text("\n".join(rows), encoding="utf-8")
    assert read_table(path) == (texts, None)


def test_what_is_no_unicode_is_left_to_the_tokenizer(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800"}\n\n{"text": "b"}')
    assert read_table(tmp_path / "a.jsonl") == (["a\ud800", "b"], None)


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    for name, text in (("a.csv", "text\nhi"), ("a.jsonl", '{"text": "hi"}')):
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        assert read_table(tmp_path / name) == (["hi"], None)


BAD = {
    "unknown ending": ("a.txt", b"a", {}, "'.txt'.*.parquet, .csv, .tsv, .jsonl"),
    "no ending": ("data", b"a", {}, "ends in ''"),
    "no columns": ("a.csv", b"", {}, "is empty. Name a file"),
    "blank file": ("a.csv", b"\n\n", {}, "first line names no columns"),
    "no rows": ("a.csv", b"text,label\n", {}, "no rows"),
    "no lines": ("a.jsonl", b"\n", {}, "has no columns at all"),
    "damaged parquet": ("a.parquet", b"PAR1" * 4, {}, "'.*a.parquet' cannot be read"),
    "empty parquet": ("a.parquet", b"", {}, "is empty. Name a file"),
    "no UTF-8": ("a.csv", b"text\ncaf\xe9\n", {}, "cannot be read.*utf-8.*0xe9"),
    "no UTF-8 in json": ("a.jsonl", b'{"text": "\xff"}', {}, "utf-8.*0xff"),
    "open quote": (
        "a.csv",
        b'text\n"a\nb\n',
        {},
        "read: unexpected end of data",
    ),
    "loose comma": (
        "a.csv",
        b"text,label\na, b,1\n",
        {},
        "2, saw 3. A value.*quotes",
    ),
    "loose commas": ("a.csv", b"text,label\na, b, c,1\n", {}, "line 2, saw 4"),
    "late comma": ("a.csv", b"text,label\na,1\na, b,1\n", {}, "line 3, saw 3"),
    "no JSON": ("a.jsonl", b'{"text": "a"}\n{"text"\n', {}, "line 2 is no JSON: "),
    "a list": ("a.jsonl", b'[{"text": "a"}]', {}, "line 1 is no JSON object"),
    "no text column": (
        "a.csv",
        b"review,label\na,1\n",
        {},
        "neither a column 'text' nor.*it has 'review', 'label'",
    ),
    "two text columns": ("a.csv", b"text,sentence\na,b\n", {}, "both a column 'text'"),
    "unknown text column": (
        "a.csv",
        b"Text,stars\na,1\n",
        {"text_column": "text"},
        "no column 'text'; it has 'Text', 'stars'. Did you mean 'Text'?",
    ),
    "unknown label column": (
        "a.csv",
        b"text,stars\na,1\n",
        {"label_column": "star"},
        "no column 'star'.*'stars'",
    ),
    "numbers for texts": (
        "a.jsonl",
        b'{"text": "a"}\n{"text": 3}\n{"label": 1}',
        {},
        r"2 of 3 rows whose texts are no strings: 1 \(3\), 2 \(None\)",
    ),
    "fractions for labels": (
        "a.jsonl",
        b'{"text": "a", "label": 0.5}\n{"text": "b", "label": 1}',
        {},
        r"1 of 2 rows whose labels are no whole numbers or names: 0 \(0.5\)",
    ),
    "truths for labels": ("a.jsonl", b'{"text": "a", "label": true}', {}, "0 .True"),
    "missing labels": ("a.csv", b"text,label\na,1\nb,\nc\n", {}, "1 .''., 2 .''."),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(tmp_path, name):
    file, content, columns, message = BAD[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ArgumentError, match=message) as caught:
        read_table(tmp_path / file, **columns)
    assert file in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_missing_cells_in_parquet(tmp_path):
    path = write(tmp_path / "a.parquet", {"text": ["a", None], "label": [1, None]})
    with pytest.raises(ArgumentError, match="1 of 2 rows whose texts"):
        read_table(path)
    path = write(tmp_path / "a.parquet", {"text": ["a", "b"], "label": [1, None]})
    with pytest.raises(ArgumentError, match=r"rows whose labels.*: 1 \(None\)"):
        read_table(path)


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_blank_rows_are_rows(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    path.write_text('text\ngood\n\n   \n""\nbad\n\n')
    assert read_table(path)[0] == ["good", "", "   ", "", "bad", ""]
    separator = "," if kind == "csv" else "\t"
    lines = ["text,label", "good,1", "", "   ", ",0", "bad", "", ""]
    path.write_text("\n".join(lines).replace(",", separator))
    assert read_table(path, label_column="")[0] == ["good", "", "   ", "", "bad"]
    with pytest.raises(ArgumentError, match=r"3 of 5 .*1 \(''\), 2 \(''\), 4 \(''\)"):
        read_table(path)


STRAY = 'sentence\tlabel\n"good start\t1\nbad film\t0\nand its end"\t1\nfine\t1\n'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", STRAY, "2 rows if its quotes protect.*, and 4 if they are plain"),
        ("a.tsv", 'text\n"good\nbad\nend"\n', "1 rows .* and 3 if"),
        ("a.tsv", 'text\tlabel\n"The Good" is good\t1\n', "expected after.*doubled"),
        ("a.csv", 'text,label\n"The Good" is good,1\n', "expected after.*doubled"),
        ("a.csv", 'text,label\n"The Good,1\nbad,0\n', "end of data"),
    ],
)
def test_quotes_that_protect_nothing_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ArgumentError, match=message):
        read_table(tmp_path / name)


def test_columns_of_one_name_are_named(tmp_path):
    (tmp_path / "a.csv").write_text("text,label,text\na,1,b\n")
    with pytest.raises(ArgumentError, match="2 columns 'text'; it has 'text', 'label'"):
        read_table(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("id,text,id\n1,b,2\n")
    assert read_table(tmp_path / "b.csv") == (["b"], None)
    table = pyarrow.Table.from_arrays([["a"], ["b"]], names=["text", "text"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ArgumentError, match="2 columns 'text'"):
        read_table(tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text('{"text": "a", "text": "b"}')
    with pytest.raises(ArgumentError, match="line 1 .*key 'text' twice"):
        read_table(tmp_path / "a.jsonl")


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"))
rows = st.lists(st.tuples(cells, st.integers(0, 3)), min_size=1, max_size=5)


@calm
@given(rows, st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_what_pandas_and_csv_write(tmp_path_factory, rows, alone, end):
    folder = tmp_path_factory.mktemp("rows")
    texts, labels = map(list, zip(*rows, strict=True))
    frame = pandas.DataFrame({"text": texts, "label": labels})
    frame = frame[["text"]] if alone else frame
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC):
        path = folder / "a.csv"
        frame.to_csv(path, index=False, quoting=quoting, lineterminator=end)
        assert read_table(path) == (texts, None if alone else labels)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, quoting=quoting, lineterminator=end)
            writer.writerow(frame.columns)
            writer.writerows(frame.itertuples(index=False))
        assert read_table(path) == (texts, None if alone else labels)


@calm
@given(rows)
def test_a_tsv_is_read_as_written_or_refused(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "a.tsv"
    texts, labels = map(list, zip(*rows, strict=True))
    write(path, {"text": texts, "label": labels})
    try:
        assert read_table(path) == (texts, labels)
    except ArgumentError as error:
        assert "rows if its quotes protect" in str(error)
        assert any("\t" in text and "\n" in text for text in texts)


def test_a_carriage_return_alone_ends_no_row(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"text,label\na\rb,1\n")
    with pytest.raises(ArgumentError, match="new-line character"):
        read_table(tmp_path / "a.csv")


def test_a_text_of_any_length(tmp_path):
    before = csv.field_size_limit()
    write(tmp_path / "a.csv", {"text": ["a" * 200_000]})
    assert read_table(tmp_path / "a.csv") == (["a" * 200_000], None)
    assert csv.field_size_limit() == before


PARQUET_TEXTS = {
    "string": pyarrow.string(),
    "large_string": pyarrow.large_string(),
    "string_view": pyarrow.string_view(),
    "dictionary": pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
}
PARQUET_LABELS = {
    **{f"int{n}": getattr(pyarrow, f"int{n}")() for n in (8, 16, 32, 64)},
    **{f"uint{n}": getattr(pyarrow, f"uint{n}")() for n in (8, 64)},
    **{f"float{n}": getattr(pyarrow, f"float{n}")() for n in (32, 64)},
    "decimal": pyarrow.decimal128(5, 1),
    "category": None,
}


@pytest.mark.parametrize("text", PARQUET_TEXTS)
@pytest.mark.parametrize("label", PARQUET_LABELS)
def test_parquet_types(tmp_path, text, label):
    texts = pyarrow.array(["a", "b", "a"]).cast(PARQUET_TEXTS[text])
    labels = pandas.Series([1, 0, 1]).astype("category" if label == "category" else int)
    if label == "decimal":
        labels = [Decimal("1.0"), Decimal("0.0"), Decimal("1.0")]
    labels = pyarrow.array(labels, PARQUET_LABELS[label])
    table = pyarrow.table({"text": texts, "label": labels})
    folder = tmp_path / "label=7"  # no column of its own
    folder.mkdir()
    pyarrow.parquet.write_table(table, folder / "a.parquet")
    assert read_table(folder / "a.parquet") == (["a", "b", "a"], [1, 0, 1])


@pytest.mark.parametrize("kind", ["Int64", "category", "float", "string"])
def test_nullable_and_categorical_columns(tmp_path, kind):
    labels = pandas.Series([1, 0, 1]).astype("str" if kind == "string" else kind)
    text = pandas.Series(["a", "b", "a"]).astype("category")
    path = write(tmp_path / "a.parquet", {"text": text, "label": labels})
    assert read_table(path) == (["a", "b", "a"], [1, 0, 1])
    gone = labels.where([True, False, True])
    path = write(tmp_path / "b.parquet", {"text": text, "label": gone})
    with pytest.raises(ArgumentError, match=r"1 of 3 rows whose labels.*: 1 \("):
        read_table(path)
    assert read_table(path, label_column="") == (["a", "b", "a"], None)


def test_numbers_as_pandas_writes_them_where_one_was_missing(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na,1.0\nb,0.0\nc,2\n")
    assert read_table(tmp_path / "a.csv")[1] == [1, 0, 2]
    (tmp_path / "a.csv").write_text("text,label\na,1.5\nb,0.0\n")
    assert read_table(tmp_path / "a.csv")[1] == ["1.5", "0.0"]


def test_what_is_no_label_is_told_as_it_is_written(tmp_path):
    cells = ["true", "[0, 1]", "null", '" "', "0.5", "1", '"good"']
    rows = [f'{{"text": "a", "label": {cell}}}\n' for cell in cells]
    (tmp_path / "a.jsonl").write_text("".join(rows))
    found = read_table(tmp_path / "a.jsonl", gaps=True)[1]
    assert found == ["True", "[0, 1]", None, None, "0.5", 1, "good"]
    with pytest.raises(ArgumentError, match=r"0 \(True\), 1 \(\[0, 1\]\), 2 \(None\)"):
        read_table(tmp_path / "a.jsonl")


def test_no_file_and_a_folder(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ArgumentError, match="nosuch.csv' does not exist"):
        read_table(tmp_path / "nosuch.csv")
    with pytest.raises(ArgumentError, match="folder.csv' is a folder"):
        read_table(tmp_path / "folder.csv")
    with pytest.raises(ArgumentError, match="cannot be read: .*File name too long"):
        read_table("a" * 300 + ".csv")


def test_without_pandas(tmp_path, monkeypatch):
    path = write(tmp_path / "a.csv", {"text": ["a"]})
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ArgumentError, match=r'needs pandas.*"lrp_hooks\[evaluate\]"'):
        read_table(path)
