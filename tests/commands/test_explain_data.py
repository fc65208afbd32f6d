"""``lrp-hooks explain --data``: a folder of parquet files, or one line of error."""

import pandas
import pytest

from command_line import EMBEDDED, ROWS, assert_refused
from lrp_hooks import cli, explain
from shared_models import sentiment

pytestmark = pytest.mark.usefixtures("loaded_once")


def test_a_data_set(run, data, tmp_path):
    given = ("explain", "--data", data, "--out", tmp_path / "out", "--batch-size", 8)
    assert run(*given) == (0, f"{ROWS} texts: {tmp_path / 'out'}\n", "")
    rows = pandas.read_parquet(tmp_path / "out")
    model, tokenizer = sentiment()
    for text, row in zip(pandas.read_csv(data).text, rows.itertuples(), strict=True):
        found = explain(model, text, tokenizer=tokenizer)
        assert list(row.scores) == pytest.approx(found.scores[0].tolist(), abs=1e-5)
    assert run(*given)[0] == 0  # it is done


def test_labels_options_and_texts_that_are_left_out(run, tmp_path):
    pandas.DataFrame({
        "sentence": ["a film", " ", "dull"],
        "stars": [0, 1, 1],
    }).to_parquet(tmp_path / "data.parquet")
    code, out, err = run(
        *("explain", "--data", tmp_path / "data.parquet", "--out", tmp_path / "out"),
        *("--label", "stars", "--rules", "attnlrp"),
    )
    assert (code, err) == (0, "")
    assert out.startswith("3 texts, 1 of them not explained (see column error): ")
    rows = pandas.read_parquet(tmp_path / "out")
    assert rows.target.tolist()[::2] == ["negative", "positive"]
    model, tokenizer = sentiment()
    found = explain(model, "a film", tokenizer=tokenizer, target=0, rules="attnlrp")
    assert list(rows.scores[0]) == pytest.approx(found.scores[0].tolist(), abs=1e-5)


def test_a_run_that_explained_nothing_fails(run, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\ngood,pos\nbad,neg\n")
    given = ("explain", "--data", tmp_path / "a.csv", "--out", tmp_path / "out")
    code, out, err = run(*given, "--label", "label")
    assert code and out.startswith("2 texts, 2 of them not explained")
    assert "none of the texts was explained" in err


REFUSED = {
    "no folder": (["--data", "x.csv"], "--out DIR"),
    "a text as well": (["a", "--data", "x.csv", "--out", "o"], "TEXT does not go"),
    "a page": (["--data", "x.csv", "--out", "o", "--html", "p"], "--html does not go"),
    "no data": (["a", "--out", "o"], "--out goes with --data"),
    "a column alone": (["a", "--text", "t"], "--text goes with --data"),
    "batches alone": (["a", "--batch-size", "2"], "--batch-size goes with --data"),
    "no engine": (["--data", "x.csv", "--out", "o", "--engine", "rai"], "'rai'"),
    "an address here": (
        ["--data", "x.csv", "--out", "o", "--address", "a:1"],
        "address='a:1' goes with engine='ray'",
    ),
    "no file": (["--data", "nosuch.csv", "--out", "o"], "does not exist"),
    "another column": (
        ["--data", "DATA", "--out", "o", "--text", "t"],
        "no column 't'",
    ),
    "no column of labels": (
        ["--data", "DATA", "--out", "o", "--label", "labl"],
        "no column 'labl' beside 'text'",
    ),
    "no method": (["--data", "DATA", "--out", "o", "--method", "lpr"], "'lpr'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(run, data, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    arguments, message = REFUSED[name]
    given = [data if word == "DATA" else word for word in arguments]
    assert_refused(run("explain", *given), message)


def test_another_model_in_the_same_folder(run, data, tmp_path):
    given = [
        "explain",
        "--data",
        data,
        "--out",
        tmp_path,
        "--method",
        "random_baseline",
    ]
    assert run(*given)[0] == 0
    assert_refused(run(*given, "--target", "1"), "target differ")
    assert cli.main([str(w) for w in [*given, "--model", EMBEDDED]]) == 0  # the same
