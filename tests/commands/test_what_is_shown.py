"""Options that say what is explained and how it is shown; what a terminal shows."""

import io
import json
import re
import subprocess
import sys

import pytest
import torch

from command_line import SENTENCE, assert_refused
from folders import SHARED, needs_shared
from hand_built import explanation
from lrp_hooks import Contrast, cli, explain
from lrp_hooks.support.marks import pieces, spelled
from lrp_hooks.support.table import aligned
from lrp_hooks.support.text import terminal_width
from shared_models import sentiment

pytestmark = pytest.mark.usefixtures("loaded_once")


def record_of(run, *arguments):
    code, out, err = run(*arguments, "--json", "-")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_contrast(run):
    found = record_of(run, "explain", SENTENCE, "--contrast", "negative", "positive")
    model, tokenizer = sentiment()
    wanted = explain(model, SENTENCE, tokenizer=tokenizer, target=Contrast(0, 1))
    assert found["scores"] == pytest.approx(wanted.scores[0].tolist(), abs=1e-6)
    assert found["target"] == "negative rather than positive"
    asked = run("explain", SENTENCE, "--contrast", "nope", "positive")
    assert_refused(asked, "--contrast 'nope' is no label")
    asked = run("explain", SENTENCE, "--contrast", "positive", "1")
    assert_refused(asked, "class 1 on both sides")
    audit = record_of(run, "audit", SENTENCE, "--contrast", "negative", "positive")
    output = audit["ledgers"][0]["output"]
    assert output == pytest.approx(wanted.output.item(), abs=1e-5)
    pair = ("--methods", "lrp", "--contrast", "negative", "positive")
    compared = record_of(run, "compare", SENTENCE, *pair)["explanations"]["lrp"][0]
    assert compared["scores"] == found["scores"]
    both = ("--contrast", "0", "1", "--target", "1")
    assert_refused(run("explain", SENTENCE, *both), "--target and --contrast both")


@pytest.mark.parametrize("how", ["site", "equal", "first", "abs"])
def test_complete(run, how):
    found = record_of(run, "explain", SENTENCE, "--complete", how)
    model, tokenizer = sentiment()
    wanted = explain(model, SENTENCE, tokenizer=tokenizer)
    assert found["scores"] == pytest.approx(wanted.complete(how)[0].tolist(), abs=1e-6)
    assert sum(found["scores"]) == pytest.approx(found["output"], abs=1e-5)
    assert found["ledger"]["tokens"] == pytest.approx(found["output"], abs=1e-5)
    assert found["ledger"]["sources"] == {}
    assert found["method"] == f"lrp@{how} (conservative)"


def test_complete_needs_a_ledger(run):
    outcome = run("explain", "a", "--method", "saliency", "--complete", "site")
    assert_refused(outcome, "--complete site.*'saliency' has none")


def test_words(run):
    text = "unsmiling, film"
    found = record_of(run, "explain", text, "--words", "--complete", "site")
    assert found["tokens"] == ["[CLS]", "unsmiling,", "film", "[SEP]"]
    assert sum(found["scores"]) == pytest.approx(found["output"], abs=1e-5)
    methods = ("--words", "--methods", "lrp,saliency")
    compared = record_of(run, "compare", text, *methods)
    assert all(
        each[0]["tokens"] == found["tokens"]
        for each in compared["explanations"].values()
    )


@pytest.mark.parametrize("option", [["--words"], ["--complete", "site"]])
def test_a_data_set_has_no_such_options(run, data, tmp_path, option):
    given = ("explain", "--data", data, "--out", tmp_path / "out")
    assert_refused(run(*given, *option), f"{option[0]} does not go with --data")


def test_encodings(run, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO("café film\n".encode("latin-1")), "utf-8")
    monkeypatch.setattr(sys, "stdin", stream)
    found = record_of(run, "explain", "-", "--encoding", "latin-1")
    assert found[0]["text"] == "café film"
    assert_refused(run("explain", "a", "--encoding", "nosuch"), "'nosuch' is no enc")
    assert_refused(run("explain", "a", "--encoding", "base64"), "'base64' is no enc")


def test_bytes_that_are_no_text_are_told_with_the_way_out(run, monkeypatch):
    given = io.BytesIO("café film\n".encode("latin-1"))
    # As Python reads where no language is set.
    stream = io.TextIOWrapper(given, "utf-8", errors="surrogateescape")
    monkeypatch.setattr(sys, "stdin", stream)
    assert_refused(run("explain", "-"), "standard input is no valid UTF-8.*--encoding")


def test_tables_of_other_kinds(run, tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("text;label\nun café;1\nbad, film;0\n", encoding="latin-1")
    written = ("--sep", ";", "--encoding", "latin-1")
    more = ("--methods", "lrp", "--metrics", "accuracy", "--out", tmp_path / "a")
    code, _, err = run("evaluate", "--data", path, *written, *more)
    assert (code, err) == (0, "")
    code, out, err = run("explain", "--data", path, *written, "--out", tmp_path / "b")
    assert (code, err) == (0, "") and out.startswith("2 texts")
    refused = run("evaluate", "--data", path, *more)
    assert_refused(refused, "ends in '.txt'")
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n')
    given = ("evaluate", "--data", tmp_path / "rows.jsonl", "--sep", ";")
    assert_refused(run(*given, "--out", tmp_path / "c"), "';' says how a table")
    assert_refused(run("explain", "a", "--sep", ";"), "--sep goes with --data")
    assert_refused(run("explain", "a", "--sep", ";;"), "';;' is no single character")


@needs_shared
def test_a_picture(run, tmp_path):
    image = pytest.importorskip("PIL.Image")
    from transformers import AutoModelForImageClassification

    folder = SHARED / "models" / "vit-tiny-mnist"
    digit = torch.zeros(28, 28, dtype=torch.uint8)
    digit[4:24, 13:16] = 255
    image.fromarray(digit.numpy()).save(tmp_path / "one.png")
    picture = ("--image", tmp_path / "one.png", "--model", folder)
    found = record_of(run, "explain", *picture)
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    pixels = (digit[None, None].float() / 255 - 0.5) / 0.5
    wanted = explain(model, pixels)
    assert torch.allclose(torch.tensor(found["scores"]), wanted.scores[0], atol=1e-5)
    assert found["prediction"]["label"] == found["target"] == "1"
    assert found["image"] == str(tmp_path / "one.png")
    code, out, _ = run("compare", *picture, "--methods", "lrp,saliency")
    assert code == 0 and out.count("image 28 x 28") == 2
    assert_refused(run("explain", "--image", tmp_path / "one.png"), "Pass --model DIR")
    (tmp_path / "no.png").write_bytes(b"no picture")
    bad = ("explain", "--image", tmp_path / "no.png", "--model", folder)
    assert_refused(run(*bad), "no picture of a known format")
    bad = ("explain", "--image", tmp_path / "nosuch.png", "--model", folder)
    assert_refused(run(*bad), "'.*nosuch.png' cannot be read: No such file")
    assert_refused(run("explain", "a", "--model", folder), "Pass --image FILE")


PIECES = {
    "▁": (["<s>", "▁Once", "▁up", "on", "<0x0A>", "<0xE6>", "<0x98>", "▁"], 1),
    "Ġ": (["<s>", "ĠOnce", "Ġup", "on", "Ċ", "æĺ", "ł", "Ġ"], 1),
    "</w>": (["Once</w>", "up", "on</w>"], 0),
    "##": (["[CLS]", "once", "up", "##on"], 1),
    None: (["once", "upon"], 0),
}
SPELLED = {
    "▁": ["<s>", "Once", "up", "on", "\n", "�", "…", "␣"],
    "Ġ": ["<s>", "Once", "up", "on", "\n", "映", "…", "␣"],
    "</w>": ["Once", "up", "on"],
    "##": ["[CLS]", "once", "up", "##on"],
    None: ["once", "upon"],
}


@pytest.mark.parametrize("mark", PIECES, ids=str)
def test_tokens_are_spelled_as_text(mark):
    tokens, first = PIECES[mark]
    special = [True] * first + [False] * (len(tokens) - first)
    texts = pieces(tokens, special, mark)
    shown = spelled(tokens, mark, texts, special)
    expected = SPELLED[mark]
    if mark == "▁":  # half a character has no text
        expected = [*expected[:5], tokens[5], *expected[6:]]
    assert shown == expected


def test_a_terminal_shows_texts_and_json_tokens():
    tokens = ["<s>", "ĠOnce", "Ġup", "on", "Ċ"]
    found = explanation([tokens], scores=torch.arange(5.0)[None])
    found.meta |= {"subwords": "Ġ", "special": [[True, *[False] * 4]]}
    lines = found.to_terminal(colour=False).splitlines()
    assert [line.split()[0] for line in lines if re.search(r" [+-]\d", line)][-5:] == [
        *("<s>", "Once", "up", "on", "␊"),
    ]
    figure = [t.get_text() for t in found.plot().axes[0].texts]
    assert figure[1:4] == ["Once", "up", "on"]
    assert found.view().views[0].examples[0].parts[0].tokens == tokens


@pytest.fixture
def terminal(monkeypatch):
    """Make standard output a terminal of so many columns."""

    def terminal(columns):
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("NO_COLOR", "1")

    return terminal


@pytest.mark.parametrize("columns", [60, 100])
@pytest.mark.parametrize(
    "command", [["rules"], ["audit"], ["compare", "not bad"], ["closed-forms"]]
)
def test_tables_fit_a_terminal(capsys, terminal, columns, command):
    terminal(columns)
    assert cli.main(command) == 0
    table = max(capsys.readouterr().out.split("\n\n"), key=len).splitlines()
    assert len(table) > 5
    assert max(map(len, table)) <= columns


def test_a_pipe_gets_whole_names(monkeypatch):
    long = "encoder." * 30
    assert terminal_width() is None
    assert aligned([("module", "type"), (long, "Linear")])[1].startswith(long)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    head, line = aligned([("module", "type"), (long, "Linear")])
    assert len(line) == 40 and line.startswith("encoder.") and "…" in line
    assert line.endswith("encoder.  Linear")
    assert head.index("type") == line.index("Linear")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion(run, shell):
    pytest.importorskip("shtab")
    code, out, err = run("completion", shell)
    assert (code, err) == (0, "")
    assert "--max-new-tokens" in out and "closed-forms" in out
    assert len(out.splitlines()) > 50


def test_bash_completes(run, tmp_path):
    pytest.importorskip("shtab")
    _, out, _ = run("completion", "bash")
    (tmp_path / "script").write_text(out)
    (tmp_path / "picture.png").touch()
    asked = {"explain --ru": "--rules", "gen": "generate", "explain --image p": "pict"}
    for given, wanted in asked.items():
        *before, word = given.split()
        program = (
            "source ./script\n"
            f"COMP_WORDS=(lrp-hooks {given}); COMP_CWORD={len(given.split())}\n"
            f"_shtab_lrp_hooks lrp-hooks '{word}' '{(before or ['lrp-hooks'])[-1]}'\n"
            'echo "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            ["bash", "-c", program],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert wanted in done.stdout
