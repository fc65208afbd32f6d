"""Data files: every format says the same, and what is wrong with one is named."""

import json
import re
import sys

import pandas
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
    "blank file": ("a.csv", b"\n\n", {}, "cannot be read"),
    "no rows": ("a.csv", b"text,label\n", {}, "no rows"),
    "no lines": ("a.jsonl", b"\n", {}, "has no columns at all"),
    "damaged parquet": ("a.parquet", b"PAR1" * 4, {}, "'.*a.parquet' cannot be read"),
    "empty parquet": ("a.parquet", b"", {}, "is empty. Name a file"),
    "no UTF-8": ("a.csv", b"text\ncaf\xe9\n", {}, "cannot be read.*utf-8.*0xe9"),
    "no UTF-8 in json": ("a.jsonl", b'{"text": "\xff"}', {}, "utf-8.*0xff"),
    "open quote": ("a.csv", b'text\n"a\nb\n', {}, "cannot be read.*inside string"),
    "loose comma": ("a.csv", b"text,label\na, b,1\n", {}, "more values.*quotes"),
    "loose commas": ("a.csv", b"text,label\na, b, c,1\n", {}, "more values"),
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
    with pytest.raises(ArgumentError, match=re.escape("0 (1.0), 1 (nan)")):
        read_table(path)


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
