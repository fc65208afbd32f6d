"""The commands that look into a model: `rules` and `audit`."""

import json
import os
import re
import shutil

import pytest
import torch

from command_line import EMBEDDED, SENTENCE, assert_refused
from lrp_hooks import RuleSet, cli, instrument
from lrp_hooks.commands import chosen
from lrp_hooks.explainers.recommended import recommendation
from lrp_hooks.sentiment import sentiment_model
from lrp_hooks.texts.encoding import encode
from shared_models import sentiment

pytestmark = pytest.mark.usefixtures("loaded_once")


def audited(texts, rules="conservative", target=None):
    model, tokenizer = sentiment()
    with instrument(model, rules) as lrp:
        return lrp.audit(encode(model, tokenizer, texts).batch, target)


@pytest.mark.parametrize("rules", ["conservative", "attnlrp", "gradient"])
def test_rules(run, tmp_path, rules):
    code, out, err = run("rules", "--rules", rules, "--json", tmp_path / "r.json")
    assert (code, err) == (0, "")
    model, _ = sentiment()
    with instrument(model, rules) as lrp:
        names = f"rule sets  {', '.join(RuleSet.names())}"
        shown = f"{RuleSet.named(rules)}\n\n{lrp.coverage}\n\n{names}\n"
        assert out == f"{shown}{recommendation(model)}\n"
        rows = lrp.coverage.rows
    record = json.loads((tmp_path / "r.json").read_text())
    assert (record["rules"], record["model"]) == (rules, type(model).__name__)
    assert record["families"]["attention"] == repr(RuleSet.named(rules).attention)
    assert record["recommended"] == recommendation(model)
    assert record["modules"] == [vars(row) for row in rows]
    assert os.listdir(tmp_path) == ["r.json"]


def test_rules_say_why(run):
    _, out, _ = run("rules")
    line = (
        r"^bert.embeddings.LayerNorm +LayerNorm +Normalization\(.*\) +normalization: "
    )
    assert re.search(line, out, re.MULTILINE)
    assert re.search(r"^classifier +Linear +Zero\(\) +linear: ", out, re.MULTILINE)
    assert re.search(r"^dropout +Dropout +- +linear$", out, re.MULTILINE)


def test_rules_need_no_tokenizer(run, tmp_path):
    folder = shutil.copytree(EMBEDDED, tmp_path / "model")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert run("rules", "--model", folder) == run("rules")
    assert_refused(run("audit", "--model", folder), "holds no tokenizer")


def test_audit_by_default(run):
    code, out, err = run("audit")
    assert (code, err) == (0, "")
    assert (code, out, err) == run("audit", SENTENCE, "--model", EMBEDDED)
    expected = audited([SENTENCE])
    heading, _, table, *lines = out.splitlines()
    assert heading.startswith(f"rules 'conservative': 20 of {len(expected.rows)} ")
    head = ["module", "type", "leaving", "entering", "bias", "leak", "rule"]
    assert table.split() == head
    shown = [line.split()[0] for line in lines[:20]]
    assert shown == [row.module or "(root)" for row in expected.rows[:20]]
    assert "\n".join(lines[20:]) == repr(expected.ledger)
    assert float(expected.ledger.error) < 1e-5


def test_audit_options(run, tmp_path):
    options = ["--rules", "ah", "--target", "negative", "--rows", "3"]
    code, out, err = run("audit", "fine", *options, "--json", tmp_path / "a.json")
    assert (code, err) == (0, "")
    assert out.splitlines()[6].startswith("Ledger of ")
    expected = audited(["fine"], "ah", 0)
    # What is left to autograd leaks: no linear layer is among the worst.
    assert [line.split()[1] for line in out.splitlines()[3:6]] == [
        row.kind for row in expected.rows[:3]
    ]
    assert {row.kind for row in expected.rows[:3]} <= {"Tanh", "LayerNorm"}
    record = json.loads((tmp_path / "a.json").read_text())
    assert (record["rules"], record["target"]) == ("ah", 0)
    assert record["modules"] == [vars(row) for row in expected.rows]
    (ledger,) = record["ledgers"]
    assert (ledger["text"], ledger["output"]) == ("fine", float(expected.ledger.output))
    assert ledger["sources"]["classifier.bias"] == pytest.approx(
        float(expected.ledger.sources["classifier.bias"])
    )


def test_audit_of_standard_input_is_one_batch(run, stdin, tmp_path):
    stdin("good film\na rather bad film\n")
    code, _, err = run("audit", "-", "--json", tmp_path / "a.json")
    assert (code, err) == (0, "")
    ledgers = json.loads((tmp_path / "a.json").read_text())["ledgers"]
    expected = audited(["good film", "a rather bad film"]).ledger
    assert [ledger["text"] for ledger in ledgers] == ["good film", "a rather bad film"]
    totals = torch.tensor([ledger["total"] for ledger in ledgers])
    torch.testing.assert_close(totals, expected.total)


def test_audit_tells_what_has_no_rule(run, monkeypatch):
    own = sentiment_model()
    monkeypatch.setattr(chosen, "sentiment_model", lambda: own)
    model, _ = own
    model.classifier.register_forward_pre_hook(
        lambda _, args: (torch.special.i0(args[0]),)
    )
    code, out, err = run("audit")
    assert code == 0
    assert re.search(r"^no rule: special_i0", out, re.MULTILINE)
    assert err.startswith("lrp-hooks: without a rule")
    assert len(err.splitlines()) == 1


BAD = {
    "unknown rules": (["--rules", "nosuch"], "'nosuch'.*'attnlrp'"),
    "no folder": (["--model", "nosuch/folder"], "'nosuch/folder'"),
    "no model": (["--model", "."], r"'\.'.*config.json"),
    "no folder for json": (["--json", "nosuch/f.json"], "nosuch/f.json"),
    "a folder as json": (["--json", "."], r"'\.'"),
    "unknown option": (["--nosuch"], "--nosuch"),
    "abbreviated option": (["--rule", "ah"], "--rule"),
}
BAD_AUDIT = {
    "unknown target": (["--target", "nosuch"], "'nosuch'.*'negative', 'positive'"),
    "target out of range": (["--target", "7"], "7.*2"),
    "no row": (["--rows", "0"], "'0'"),
    "negative rows": (["--rows=-3"], "'-3'"),
    "rows in words": (["--rows", "all"], "'all'"),
    "blank text": ([" \t"], r"' \\t'"),
    "long text": (["word " * 300], "302.*128"),
    "second text": (["a", "second"], "second"),
}
CASES = [
    *(("rules", *case) for case in BAD.values()),
    *(("audit", *case) for case in (BAD | BAD_AUDIT).values()),
]


@pytest.mark.parametrize(("command", "arguments", "message"), CASES)
def test_bad_input_is_one_line(run, tmp_path, monkeypatch, command, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert_refused(run(command, *arguments), message)
    assert os.listdir(tmp_path) == []


def test_bad_standard_input(run, stdin):
    stdin("fine\n" + "word " * 300)
    assert_refused(run("audit", "-"), "text 2 has 302")


@pytest.mark.parametrize("command", ["rules", "audit"])
def test_help_has_an_example(capsys, command):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    assert f"examples:\n  lrp-hooks {command}" in capsys.readouterr().out
