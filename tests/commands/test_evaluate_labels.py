"""``lrp-hooks evaluate``: what labels of a data file mean, and when they are read."""

import json
import re

import pyarrow.parquet
import pytest

from lrp_hooks.sentiment import sentiment_model

pytestmark = pytest.mark.usefixtures("loaded_once")

FILES = {
    "whole numbers as pandas writes them": "nice,1.0\nbad,0.0",
    "names in capitals": "nice,positive\nbad,Negative",
    "numbers": "nice,1\nbad,0",
}
GAPS = {
    "missing": ("nice,positive\nbad,\ngood,positive", {1: "none"}),
    "unknown": ("nice,positive\nbad,happy\ngood,1", {1: "'happy'", 2: "'1'"}),
    "numbers": ("nice,1\nbad,2\ngood,0", {1: "'2'"}),
    "fractions": ("nice,1\nbad,0.5\ngood,1.0", {1: "'0.5'"}),
    "blank": ("nice,positive\nbad,  \ngood,NEGATIVE", {1: "none"}),
}


@pytest.fixture
def rows_of(run, tmp_path):
    """Evaluate a file; return the outcome and the rows of the results."""

    def rows_of(content, *more):
        (tmp_path / "a.csv").write_text(f"text,label\n{content}\n")
        more = ("--data", tmp_path / "a.csv", "--methods", "lrp", *more)
        code, _, err = run("evaluate", *more, "--out", tmp_path / "out")
        found = tmp_path / "out" / "results.parquet"
        rows = None if code else pyarrow.parquet.read_table(found).to_pylist()
        return code, err, rows

    return rows_of


@pytest.mark.parametrize("name", FILES)
def test_labels_that_mean_the_same(rows_of, name):
    code, err, rows = rows_of(FILES[name], "--metrics", "accuracy")
    assert (code, err) == (0, "")
    assert [row["values"][0] for row in rows] == [1, 1]


@pytest.mark.parametrize("name", GAPS)
@pytest.mark.parametrize("read", [("--metrics", "accuracy"), ("--target", "label")])
def test_rows_without_a_label_are_left_out_where_labels_are_read(
    rows_of, tmp_path, name, read
):
    content, gaps = GAPS[name]
    code, err, rows = rows_of(content, *read)
    assert code == 0
    assert {row["row"] for row in rows} == {0, 1, 2} - gaps.keys()
    listed = ", ".join(f"{row} ({label})" for row, label in gaps.items())
    assert err == (
        f"lrp-hooks: {len(gaps)} of 3 rows have no label that the model knows and are "
        f"left out: {listed}; the first row is 0. --label '' reads no labels.\n"
    )
    skipped = json.loads((tmp_path / "out" / "summary.json").read_text())["skipped"]
    assert skipped == {str(r): "it has no label that the model knows." for r in gaps}


@pytest.mark.parametrize("name", GAPS)
def test_rows_stay_where_labels_are_not_read(rows_of, name):
    code, err, rows = rows_of(GAPS[name][0], "--metrics", "aopc")
    assert (code, err) == (0, "")
    assert len(rows) == 3


def test_labels_none_of_which_is_known_are_refused(rows_of):
    code, err, _ = rows_of("nice,happy\nbad,sad", "--target", "label")
    assert code == 2 and err.count("\n") == 1
    assert re.search("'happy', in row 0.*'negative', 'positive'", err)


def test_whether_names_or_numbers_is_what_most_labels_are(rows_of):
    _, err, rows = rows_of("nice,1\nbad,negative\ngood,1", "--metrics", "accuracy")
    assert {row["row"] for row in rows} == {0, 2}
    assert "1 ('negative')" in err


def test_a_label_means_the_same_whatever_the_limit(rows_of, tmp_path):
    """The label 0 in the last row says that all of them are numbers."""
    model, tokenizer = sentiment_model()
    model.config.id2label, model.config.label2id = {0: "1", 1: "2"}, {"1": 0, "2": 1}
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    more = ("--model", tmp_path / "model", "--metrics", "accuracy")
    for limit in (3, 2):
        file = "nice,1\ngood,1\nbad,0"
        code, err, rows = rows_of(file, *more, "--limit", limit)
        assert code == 0 and "names" not in err
        assert [row["values"][0] for row in rows][:2] == [1, 1]
        (tmp_path / "out").rename(tmp_path / f"out{limit}")
    code, err, rows = rows_of("nice,1\ngood,1", *more)
    assert code == 0 and "read as names" in err
    assert [row["values"][0] for row in rows] == [0, 0]
