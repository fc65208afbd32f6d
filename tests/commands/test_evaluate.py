"""``lrp-hooks evaluate``: what it writes, and what it refuses."""

import json
import os
import re
import sys

import pandas
import pyarrow.parquet
import pytest
import torch

from command_line import ROWS
from lrp_hooks import ArgumentError, cli, explain, faithfulness
from lrp_hooks.commands.methods import BIASES
from lrp_hooks.faithfulness import plan_of
from lrp_hooks.results.relevance import _SHARES
from lrp_hooks.sentiment import sentiment_model
from shared_models import sentiment
from small_models import hugging_face

SMALL = ["--methods", "lrp,random_baseline", "--metrics", "activation,aopc"]


pytestmark = pytest.mark.usefixtures("loaded_once")


def rows_of(folder):
    return pyarrow.parquet.read_table(folder / "results.parquet").to_pylist()


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def test_the_main_job(run, data, tmp_path):
    methods = "lrp:attnlrp@site,gradient_x_input"
    code, out, err = run(
        *("evaluate", "--data", data, "--limit", 5, "--methods", methods),
        *("--metrics", "aopc,pruning", "--sign", "signed,absolute"),
        *("--replace-with", "aopc=pad", "--target", "label"),
        *("--out", tmp_path / "out", "--json", tmp_path / "copy.json"),
    )
    assert (code, err) == (0, "")
    folder = tmp_path / "out"
    assert (tmp_path / "copy.json").read_text() == (folder / "summary.json").read_text()
    assert "<h2>Faithfulness of 2 methods on 5" in (folder / "report.html").read_text()
    rows = rows_of(folder)
    assert list(rows[0]) == ["row", "method", "sign", "metric", "score", "values"]
    assert len(rows) == 5 * 2 * 2 * 2
    model, tokenizer = sentiment()
    text, label = pandas.read_csv(data).loc[3, ["text", "label"]]
    found = explain(model, text, "lrp", tokenizer, int(label), rules="attnlrp")
    batch = tokenizer(text, return_tensors="pt")
    (entry,) = (
        entry
        for entry in rows
        if (entry["row"], entry["sign"], entry["metric"]) == (3, "absolute", "aopc")
        and entry["method"] == "lrp:attnlrp@site"
    )
    curve = faithfulness.aopc(
        model,
        batch,
        found.complete("site").abs(),
        int(label),
        tokenizer.pad_token_id,
        special_ids=tokenizer.all_special_ids,
    )
    assert entry["values"] == pytest.approx(curve.values[0].tolist(), abs=1e-5)
    assert entry["score"] == pytest.approx(curve.score.item(), abs=1e-5)
    frame = pandas.DataFrame(rows)
    means = frame.groupby(["method", "sign", "metric"]).score.mean()
    summary = summary_of(folder)["summary"]
    for (method, sign, metric), mean in means.items():
        cell = summary[method][sign][metric]
        assert cell["score"] == pytest.approx(mean)
        assert cell["low"] <= mean <= cell["high"]
        assert f"{mean:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]" in out


def test_data_files_of_all_kinds_are_the_same_evaluation(run, data, tmp_path):
    frame = pandas.read_csv(data).assign(label=["negative", "positive"] * (ROWS // 2))
    named = tmp_path / "rows.parquet"
    frame.to_parquet(named)
    more = ("--limit", 3, "--methods", "lrp", "--metrics", "accuracy")
    more = (*more, "--out", tmp_path / "out")
    assert run("evaluate", "--data", data, *more)[::2] == (0, "")
    assert run("evaluate", "--data", named, *more)[::2] == (0, "")
    frame.assign(label=1 - pandas.read_csv(data).label).to_csv(tmp_path / "other.csv")
    code, _, err = run("evaluate", "--data", tmp_path / "other.csv", *more)
    assert code == 2
    assert "another configuration: data differ" in err


def test_labels_whose_names_are_numbers(run, tmp_path):
    """As with stars: the label 2 is the class of that name, and no third class."""
    model, tokenizer = sentiment_model()
    model.config.id2label, model.config.label2id = {0: "1", 1: "2"}, {"1": 0, "2": 1}
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "rows.csv").write_text("text,label\ngood,2\nbad,1\n")
    more = ("--data", tmp_path / "rows.csv", "--model", tmp_path / "model")
    more = (*more, "--methods", "lrp", "--metrics", "accuracy", "--out", tmp_path)
    assert run("evaluate", *more)[0] == 0
    assert all(entry["values"][0] == 1 for entry in rows_of(tmp_path))


def test_rows_that_do_not_fit_are_told(run, tmp_path):
    texts = ["good film", " ", "word " * 300, "[SEP]", "dull"]
    lines = "\n".join(json.dumps({"sentence": text}) for text in texts)
    (tmp_path / "rows.jsonl").write_text(lines)
    code, out, err = run(
        *("evaluate", "--data", tmp_path / "rows.jsonl", *SMALL),
        *("--out", tmp_path / "out"),
    )
    assert code == 0
    assert len(err.splitlines()) == 1
    assert re.search("3 of 5 rows do not fit.*summary.json.*row 1: .*blank", err)
    assert "mean over 2 texts" in out
    skipped = summary_of(tmp_path / "out")["skipped"]
    assert list(skipped) == ["1", "2", "3"]
    assert "302 tokens" in skipped["2"]
    assert {entry["row"] for entry in rows_of(tmp_path / "out")} == {0, 4}
    report = (tmp_path / "out" / "report.html").read_text()
    assert "left out: 3" in report
    assert "row 2: the text has 302 tokens" in report


def test_methods_that_fail_are_told(run, data, tmp_path):
    more = ("--data", data, "--limit", 2, "--metrics", "aopc")
    code, out, err = run(*(
        "evaluate",
        *more,
        "--methods",
        "lrp,saliency@site",
        "--out",
        tmp_path / "a",
    ))
    assert code == 0
    assert re.fullmatch("lrp-hooks: saliency@site failed: complete='site'.*\n", err)
    assert "saliency" not in out
    code, out, err = run(*(
        "evaluate",
        *more,
        "--methods",
        "saliency@site",
        "--out",
        tmp_path / "b",
    ))
    assert (code, out) == (2, "")
    assert "none of the methods works on this model. saliency@site: " in err


def test_a_metric_without_a_value_is_null(run, tmp_path):
    """A single word leaves nothing to correlate."""
    (tmp_path / "rows.csv").write_text("text\ngood\nbad\n")
    more = ("--data", tmp_path / "rows.csv", "--methods", "lrp", "--out", tmp_path)
    code, out, err = run(
        "evaluate", *more, "--metrics", "leave_one_out_correlation,aopc"
    )
    assert (code, err) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith("lrp")]
    assert line.split()[:3] == ["lrp", "-", "0.000"]
    found = summary_of(tmp_path)["summary"]["lrp"]["signed"]
    assert found["leave_one_out_correlation"]["score"] is None
    assert found["leave_one_out_correlation"]["n"] == 0
    assert "nan" not in (tmp_path / "report.html").read_text().lower()


def test_every_way_to_give_back_is_named():
    assert {*BIASES, "none"} == set(_SHARES)


BAD = {
    "no data": ({"--data": None}, "--data"),
    "no out": ({"--out": None}, "--out"),
    "no file": ({"--data": "nosuch.csv"}, "'nosuch.csv' does not exist"),
    "unknown kind": ({"--data": "rows.txt"}, ".parquet, .csv, .tsv, .jsonl"),
    "no column": ({"--text": "body"}, "no column 'body'; it has .*'text', 'label'"),
    "no label column": ({"--label": "labels"}, "Did you mean 'label'"),
    "no labels": (
        {"--label": "", "--target": "label"},
        "there are none.*--label COLUMN",
    ),
    "no accuracy": ({"--label": "", "--metrics": "accuracy"}, "'accuracy'.*None"),
    "unknown label": ({"--label": "mood"}, "'happy', in row 0.*'negative', 'positive'"),
    "unknown method": ({"--methods": "lrpp"}, "'lrpp'.*Did you mean 'lrp'"),
    "no method": ({"--methods": ""}, "''"),
    "unknown rules": ({"--methods": "lrp:ali"}, "'ali'.*'attnlrp'"),
    "rules of another": ({"--methods": "decompx:ah"}, "rules"),
    "unknown bias": ({"--methods": "lrp@sit"}, "'@sit'.*Did you mean 'site'"),
    "unknown metric": ({"--metrics": "auc"}, "'auc'.*'activation'"),
    "unknown sign": ({"--sign": "abs"}, "'abs'.*'absolute'"),
    "unknown target": ({"--target": "positive"}, "'positive'.*'predicted', 'label'"),
    "unknown token": ({"--replace-with": "cls"}, "'cls'.*'mask'"),
    "token of no metric": ({"--replace-with": "aopc=mask,unk"}, "which metric 'unk'"),
    "token of another": ({"--replace-with": "auc=mask"}, "'auc'"),
    "no limit": ({"--limit": "0"}, "--limit.*'0' is no whole number from 1"),
    "no workers": ({"--workers": "two"}, "--workers"),
    "no model": ({"--model": "nosuch"}, "'nosuch'"),
    "a file for results": (
        {"--out": "rows.csv"},
        "'rows.csv' cannot be used.*Not a dir",
    ),
    "below a file": ({"--out": "rows.csv/out"}, "Not a directory"),
    "no such device": ({"--out": "/proc/nosuch"}, "/proc/nosuch' cannot be used"),
    "a json that cannot be": ({"--json": "nosuch/a.json"}, "'nosuch/a.json'"),
    "nothing that fits": ({"--text": "blank"}, "none of the 3 texts fits"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(run, tmp_path, monkeypatch, name):
    changed, message = BAD[name]
    monkeypatch.chdir(tmp_path)
    frame = {"text": ["good", "bad", "fine"], "label": [1, 0, 1]}
    frame |= {"mood": ["happy", "sad", "happy"], "blank": [""] * 3, "id": [0, 1, 2]}
    pandas.DataFrame(frame).to_csv("rows.csv")
    (tmp_path / "rows.txt").write_text("text\n")
    options = {"--data": "rows.csv", "--out": "out", **changed}
    given = [part for pair in options.items() if pair[1] is not None for part in pair]
    before = sorted(os.listdir(tmp_path))
    code, out, err = run("evaluate", *given)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert len(err) <= 501
    assert re.search(message, err), err
    assert sorted(os.listdir(tmp_path)) == before


def test_results_of_another_configuration_are_refused(run, data, tmp_path):
    more = ("--data", data, "--out", tmp_path / "out", "--metrics", "aopc")
    run("evaluate", *more, "--limit", 2, "--methods", "lrp")
    before = (tmp_path / "out" / "results.parquet").read_bytes()
    for changed, named in (
        (("--limit", 3, "--methods", "lrp"), "data, texts differ"),
        (("--limit", 2, "--methods", "lrp:ah"), ": methods differ"),
        (("--limit", 2, "--methods", "lrp", "--sign", "absolute"), "signs differ"),
    ):
        code, out, err = run("evaluate", *more, *changed)
        assert (code, out) == (2, "")
        assert "another configuration" in err
        assert named in err
    model, tokenizer = sentiment_model()
    tokenizer.save_pretrained(tmp_path / "model")
    for shift, outcome in ((0.0, 0), (0.5, 2)):
        with torch.no_grad():
            model.classifier.bias += shift
        model.save_pretrained(tmp_path / "model")
        same = ("--limit", 2, "--methods", "lrp", "--model", tmp_path / "model")
        code, _, err = run("evaluate", *more, *same)
        assert code == outcome
        assert code == 0 or ": weights differ" in err
    assert (tmp_path / "out" / "results.parquet").read_bytes() == before


def test_a_damaged_portion_is_named(run, data, tmp_path):
    more = ("--data", data, "--limit", 2, *SMALL, "--out", tmp_path)
    assert run("evaluate", *more)[0] == 0
    (part,) = (tmp_path / "parts").iterdir()
    part.write_text(part.read_text()[:50])
    code, _, err = run("evaluate", *more)
    assert code == 2
    assert re.search(r"00000.json' cannot be read.*Delete it", err)


def test_a_bar_on_a_terminal(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    more = ["--data", str(data), "--limit", "3", *SMALL, "--out", str(tmp_path)]
    assert cli.main(["evaluate", *more]) == 0
    assert "0/3" in capsys.readouterr().err


def test_help_tells_how_methods_are_spelled(capsys):
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "--help"])
    assert "lrp:attnlrp@site" in capsys.readouterr().out


def test_a_language_model_is_no_classifier():
    model = hugging_face("gpt2")
    with pytest.raises(
        ArgumentError, match="GPT2LMHeadModel, whose task is next token"
    ):
        plan_of(model, None, ["a text"])


def test_a_token_that_the_tokenizer_lacks_is_replaced_by_name():
    model, tokenizer = sentiment_model()
    tokenizer.mask_token = None
    plan = plan_of(model, tokenizer, ["a text"], metrics=["aopc", "activation"])
    assert plan.replacements == {"aopc": "unk", "activation": "unk"}
