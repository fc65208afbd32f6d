"""``lrp-hooks evaluate``: what labels of a data file mean, and when they are read."""

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
BAD = {
    "mixed": ("nice,1\nbad,negative", "labels holds '1', in row 0"),
    "missing": ("nice,positive\nbad,\ngood,positive", r"1 of 3 rows.*1 \(''\).*''"),
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


@pytest.mark.parametrize("name", BAD)
def test_labels_are_refused_where_they_are_read(rows_of, name):
    content, message = BAD[name]
    for read in (("--metrics", "accuracy"), ("--target", "label"), ()):
        code, err, _ = rows_of(content, *read)
        assert code == 2 and re.search(message, err) and err.count("\n") == 1
    code, err, rows = rows_of(content, "--metrics", "aopc")
    assert (code, err) == (0, "")
    assert len(rows) == content.count("\n") + 1


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
