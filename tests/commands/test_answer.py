"""``lrp-hooks answer``: files in, a page and JSON out."""

import json

import pytest
import torch

from command_line import assert_refused
from generation_models import language_model, word_tokenizer
from lrp_hooks import cli, explain_answer

PROMPT = "London is a capital . \n Paris is the capital of France ."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    language_model().save_pretrained(path)
    word_tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def run(folder, tmp_path, capsys):
    (tmp_path / "prompt.txt").write_text(PROMPT + "\n")
    (tmp_path / "answer.txt").write_text(" Paris . London\n")

    def run(*arguments, answer="answer.txt", prompt="prompt.txt"):
        given = ["--answer", str(tmp_path / answer)] if answer else []
        code = cli.main([
            *("answer", "--model", str(folder), "--prompt", str(tmp_path / prompt)),
            *(*given, *map(str, arguments)),
        ])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_an_answer_in_a_file(run, tmp_path):
    page, record = tmp_path / "page.html", tmp_path / "record.json"
    code, out, _ = run("--html", page, "--json", record, "--hops", 1)
    assert code == 0
    found = explain_answer(
        language_model(), word_tokenizer(), PROMPT, " Paris . London", hops=1
    )
    assert out.splitlines()[0] == "method  lrp (share .25)"
    assert "London is a capital ." in out
    saved = json.loads(record.read_text())
    assert torch.tensor(saved["scores"]).allclose(found.scores.float(), atol=1e-6)
    assert saved["sources"][0]["text"] == "London is a capital ."
    assert saved["ledger"]["total"] == pytest.approx(saved["output"], abs=1e-5)
    assert page.read_text().startswith("<!doctype html>")


def test_the_model_writes_where_no_answer_is_given(run):
    code, out, _ = run("--max-new-tokens", 3, "--json", "-", answer=None)
    assert code == 0
    assert json.loads(out)["answer"]


def test_passages_come_from_lines_of_json(run, tmp_path):
    path = tmp_path / "passages.jsonl"
    path.write_text('"is a capital"\n\n{"text": "Paris is", "id": 3}\n')
    _, out, _ = run("--sources", path, "--json", "-", "--spans", "all")
    record = json.loads(out)
    assert [p["text"] for p in record["sources"]] == ["is a capital", "Paris is"]
    assert len(record["spans"]) == 1


def test_a_unit_may_be_named(run):
    _, out, _ = run("--sources", "words", "--json", "-", "--rules", "conservative")
    assert len(json.loads(out)["sources"]) == len(PROMPT.split())


def test_the_cache_may_be_read(run):
    code, out, _ = run("--wrt", "cache", "--json", "-")
    assert code == 0
    found = explain_answer(
        language_model(), word_tokenizer(), PROMPT, " Paris . London", wrt="cache"
    )
    plain = explain_answer(
        language_model(), word_tokenizer(), PROMPT, " Paris . London"
    )
    scores = torch.tensor(json.loads(out)["scores"])
    assert found.to_terminal().startswith("method  lrp (share .25), at the cache")
    assert scores.allclose(found.scores.float(), atol=1e-6)
    assert not scores.allclose(plain.scores.float(), atol=1e-3)
    assert_refused(run("--wrt", "keys"), "wrt='keys'")


def test_standard_input_is_a_prompt(folder, monkeypatch, capsys):
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(PROMPT))
    arguments = ["answer", "--model", str(folder), "--prompt", "-"]
    assert cli.main([*arguments, "--max-new-tokens", "2"]) == 0
    assert "London is a capital ." in capsys.readouterr().out


def test_bad_input_is_one_line(run, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('"is a"\n{"id": 1}\n')
    assert_refused(run("--sources", bad), "line 2, has no text")
    bad.write_text("not json\n")
    assert_refused(run("--sources", bad), "line 1, is no JSON")
    bad.write_text('"nowhere"\n')
    assert_refused(run("--sources", bad), "does not stand in the prompt")
    assert_refused(run("--sources", "chapters"), "'chapters' is no unit")
    assert_refused(run(answer="none.txt"), "none.txt' cannot be read")
    assert_refused(run("--target", "loss"), "target='loss'")
    assert_refused(run("--hops", "x"), "'x' is no whole number")
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe\xe9")
    assert_refused(run(prompt="latin.txt"), "no valid UTF-8")
