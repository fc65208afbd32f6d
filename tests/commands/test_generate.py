"""``lrp-hooks generate``: what each token that a model writes drew on."""

import json

import pytest
import torch

from command_line import EMBEDDED, assert_refused
from generation_models import language_model, word_tokenizer
from lrp_hooks import explain_generation

PROMPT = "the capital of France is"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    language_model().save_pretrained(path)
    word_tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def generate(run, folder):
    return lambda *more: run("generate", "--model", folder, *more)


def same(record, found):
    """Verify that numbers on the command line are those of Python."""
    scores = torch.tensor(record["scores"], dtype=torch.float64)
    assert torch.allclose(scores, found.scores.double(), atol=1e-5)
    assert record["output"] == pytest.approx(found.output.tolist(), abs=1e-5)
    assert record["generated"] == found.generated


def test_what_the_model_writes(generate, tmp_path):
    page, record = tmp_path / "page.html", tmp_path / "record.json"
    more = ("--max-new-tokens", 3, "--html", page, "--json", record)
    code, out, err = generate(PROMPT, *more)
    assert (code, err) == (0, "")
    found = explain_generation(
        language_model(dtype=torch.float32), word_tokenizer(), PROMPT, max_new_tokens=3
    )
    assert out == found.to_terminal(colour=False) + "\n"
    saved = json.loads(record.read_text())
    same(saved, found)
    assert saved["prompt"] == 5 and saved["tokens"] == found.tokens[0]
    assert saved["ledger"]["total"] == pytest.approx(saved["output"], abs=1e-5)
    assert page.read_text().startswith("<!doctype html>")


def test_what_it_is_said_to_write_rather_than(generate):
    more = ("--continuation", " Paris .", "--contrast", "London", "--rules", "attnlrp")
    code, out, err = generate(PROMPT, *more, "--json", "-")
    assert (code, err) == (0, "")
    found = explain_generation(
        *(language_model(dtype=torch.float32), word_tokenizer(), PROMPT),
        continuation=" Paris .",
        contrast="London",
        rules="attnlrp",
    )
    record = json.loads(out)
    same(record, found)
    assert record["rivals"] == ["London", "London"]


def test_a_contrast_of_several_tokens_is_cut_and_said_to_be(generate):
    more = ("--continuation", " Paris", "--contrast", "London Paris")
    code, _, err = generate(PROMPT, *more)
    assert code == 0
    assert err.startswith("lrp-hooks: contrast='London Paris' is 2 tokens")


def test_twenty_tokens_and_standard_input_by_default(generate, stdin):
    stdin(f"{PROMPT}\n")
    _, out, _ = generate("-", "--json", "-")
    record = json.loads(out)
    assert len(record["generated"]) == 20
    assert record["tokens"][:5] == PROMPT.split()


def test_words(generate):
    more = ("--continuation", " undo", "--words", "--json", "-")
    _, out, _ = generate("un do", *more)
    assert json.loads(out)["tokens"] == ["un", "do", "undo"]


BAD = {
    "no model": (["generate", "a"], "--model"),
    "another model": (["generate", "a", "--model", "EMBEDDED"], "no language-model"),
    "both": (
        ["generate", "a", "--continuation", "b", "--max-new-tokens", "2"],
        "--max-new-tokens.*--continuation.*Leave one",
    ),
    "unknown rules": (["generate", "a", "--rules", "nosuch"], "'nosuch'"),
    "no tokens": (["generate", "a", "--max-new-tokens", "0"], "'0'"),
    "too long": (["generate", "a", "--max-new-tokens", "90"], "91|90"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(run, folder, name):
    (command, *rest), message = BAD[name]
    given = [EMBEDDED if one == "EMBEDDED" else one for one in rest]
    if "--model" not in given and name != "no model":
        given += ["--model", str(folder)]
    assert_refused(run(command, *given), message)


def test_blank_standard_input(generate, stdin):
    stdin(" \n")
    assert_refused(generate("-"), "standard input is blank")
