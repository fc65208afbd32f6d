"""The command line: what it prints and writes, and one line for bad input."""

import io
import json
import logging
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings

import pytest

from command_line import EMBEDDED, SENTENCE, assert_refused
from lrp_hooks import ArgumentError, UnruledWarning, cli, explain
from lrp_hooks.commands import explain as explain_command
from processes import command
from shared_models import sentiment

pytestmark = pytest.mark.usefixtures("loaded_once")


def test_the_main_job(run):
    code, out, err = run("explain", SENTENCE)
    assert (code, err) == (0, "")
    model, tokenizer = sentiment()
    found = explain(model, SENTENCE, tokenizer=tokenizer)
    assert out.startswith("prediction  positive (probability 0.9")
    for token, score in zip(found.tokens[0], found.scores[0].tolist(), strict=True):
        assert f"\n{token:<8}  {score:+.4f}\n" in out
    ledger = dict(re.findall(r"^  (\w+) +(\S+)$", out, re.MULTILINE))
    assert list(ledger) == ["tokens", "positions", "biases", "total", "output", "error"]
    assert float(ledger["total"]) == pytest.approx(found.output.item(), abs=1e-4)
    assert float(ledger["error"]) < 1e-5


def test_a_heat_map_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert cli.main(["explain", SENTENCE]) == 0
    assert re.search("\x1b\\[38;5;\\d+;48;5;\\d+mfunny\x1b", capsys.readouterr().out)


def test_files(run, tmp_path):
    names = {kind: tmp_path / f"file.{kind}" for kind in ("html", "png", "json")}
    options = [part for kind, path in names.items() for part in (f"--{kind}", path)]
    code, _, err = run("explain", SENTENCE, *options, "--target", "negative")
    assert (code, err) == (0, "")
    assert sorted(os.listdir(tmp_path)) == sorted(path.name for path in names.values())
    assert names["html"].read_text().startswith("<!doctype html>")
    assert names["png"].read_bytes().startswith(b"\x89PNG")
    record = json.loads(names["json"].read_text())
    assert record["text"] == SENTENCE
    assert record["target"] == "negative"
    assert record["prediction"]["label"] == "positive"
    assert len(record["tokens"]) == len(record["scores"]) == 11
    assert sum(record["scores"]) == pytest.approx(record["ledger"]["tokens"], abs=1e-5)


def test_options(run):
    _, plain, _ = run("explain", SENTENCE)
    _, rules, _ = run("explain", SENTENCE, "--rules", "attnlrp")
    _, method, _ = run("explain", SENTENCE, "--method", "gradient_x_input")
    _, number, _ = run("explain", SENTENCE, "--target", "0")
    _, folder, _ = run("explain", SENTENCE, "--model", EMBEDDED)
    assert "lrp (attnlrp)" in rules
    assert "  softmax  " in rules
    assert "method  gradient_x_input\n" in method
    assert "target  negative\n" in number
    assert folder == plain


def test_a_stride_reads_what_is_too_long(run, tmp_path):
    text = " ".join([SENTENCE] * 20)
    assert_refused(run("explain", text), "stride=")
    code, out, err = run("explain", text, "--stride", 32, "--json", tmp_path / "a.json")
    assert (code, err) == (0, "")
    model, tokenizer = sentiment()
    found = explain(model, text, tokenizer=tokenizer, stride=32)
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["scores"] == pytest.approx(found.scores[0].tolist(), abs=1e-6)
    means = []
    for label in (0, 1):
        one = explain(model, text, tokenizer=tokenizer, target=label, stride=32)
        means.append(one.output.item())
    odds = 1 / (1 + math.exp(means[0] - means[1]))
    assert record["prediction"]["probability"] == pytest.approx(max(odds, 1 - odds))
    code, out, _ = run("compare", text, "--stride", 0, "--methods", "lrp")
    assert code == 0 and "funny" in out
    assert_refused(run("explain", text, "--stride", "-1"), "stride")
    assert_refused(run("explain", text, "--stride", "126"), "from 0 to 125")


def test_standard_input(run, stdin, tmp_path):
    stdin("good film\nbad film\n")
    code, out, err = run("explain", "-", "--json", tmp_path / "a.json")
    assert (code, err) == (0, "")
    assert re.findall(r"^text \d of 2$", out, re.MULTILINE) == [
        "text 1 of 2",
        "text 2 of 2",
    ]
    assert re.findall(r"^prediction  (\w+)", out, re.MULTILINE) == [
        "positive",
        "negative",
    ]
    records = json.loads((tmp_path / "a.json").read_text())
    assert [record["text"] for record in records] == ["good film", "bad film"]


def test_a_progress_bar_only_on_a_terminal(stdin, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    stdin("good film\nbad film\n")
    assert cli.main(["explain", "-"]) == 0
    assert "0/2" in capsys.readouterr().err
    assert cli.main(["explain", "good film"]) == 0
    assert "0/1" not in capsys.readouterr().err


BAD = {
    "no command": ([], "COMMAND"),
    "unknown command": (["nosuch"], "'nosuch'"),
    "no text": (["explain"], "TEXT"),
    "unknown option": (["explain", "a", "--nosuch"], "--nosuch.*lrp-hooks explain --h"),
    "option without value": (["explain", "a", "--rules"], "--rules"),
    "abbreviated option": (["explain", "a", "--targ", "0"], "--targ"),
    "second text": (["explain", "a", "second"], "second"),
    "unknown rules": (["explain", "a", "--rules", "nosuch"], "'nosuch'.*'attnlrp'"),
    "rules in capitals": (["explain", "a", "--rules", "AH"], "Did you mean 'ah'"),
    "unknown method": (["explain", "a", "--method", "nosuch"], "'nosuch'.*'lrp'"),
    "rules of another method": (
        ["explain", "a", "--method", "gradient_x_input", "--rules", "ah"],
        "'ah'",
    ),
    "rules of LIME": (
        ["explain", "a", "--method", "lime", "--rules", "ah"],
        "--rules 'ah' goes with --method lrp, not with 'lime'",
    ),
    "unknown target": (
        ["explain", "a", "--target", "nosuch"],
        "'nosuch'.*'negative', 'positive'",
    ),
    "target of one letter more": (
        ["explain", "a", "--target", "POSITIVES"],
        r"'POSITIVES' is no label.*Did you mean 'positive'\?$",
    ),
    "target out of range": (["explain", "a", "--target", "7"], "7.*2"),
    "target of many digits": (["explain", "a", "--target", "9" * 5000], "'999"),
    "negative target": (["explain", "a", "--target", "-1"], "'-1'.*whole one from 0"),
    "target with a point": (["explain", "a", "--target", "1.0"], "'1.0'.*whole one"),
    "another picture": (["explain", "a", "--png", "a.jpg"], "'a.jpg'.*'.png'"),
    "a full device": (["explain", "a", "--json", "/dev/full"], "No space.*Free some"),
    "blank text": (["explain", " \t"], r"' \\t'"),
    "empty text": (["explain", ""], "''"),
    "no token": (["explain", "\u200b"], "no token"),
    "no Unicode": (["explain", "a\udcff"], "udcff"),
    "long text": (["explain", "word " * 300], "302.*128"),
    "no folder": (["explain", "a", "--model", "nosuch/folder"], "'nosuch/folder'"),
    "a file": (["explain", "a", "--model", f"{EMBEDDED}/config.json"], "config.json'"),
    "no model": (["explain", "a", "--model", "."], r"'\.'.*config.json"),
    "no folder for html": (
        ["explain", "a", "--html", "nosuch/f.html"],
        "nosuch/f.html",
    ),
    "no folder for png": (["explain", "a", "--png", "nosuch/f.png"], "nosuch/f.png"),
    "a folder as json": (["explain", "a", "--json", "."], r"'\.'"),
    "one file for two": (["explain", "a", "--json", "f", "--html", "./f"], "one file"),
    "one file by two ways": (
        ["explain", "a", "--json", "f", "--html", "tests/../f"],
        "one file",
    ),
    "a name with lines": (["explain", "a", "--model", "x\ny\x1b[31m\u2028"], r"x\\ny"),
    "a name without end": (["explain", "a", "--model", "x" * 9000], "xxx"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(run, tmp_path, monkeypatch, name):
    arguments, message = BAD[name]
    monkeypatch.chdir(tmp_path)
    assert_refused(run(*arguments), message)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("\n", "blank"),
        ("fine\n" + "word " * 300, "text 2 has 302"),
    ],
)
def test_bad_standard_input(run, stdin, text, message):
    stdin(text)
    assert_refused(run("explain", "-"), message)


def test_blank_lines_at_the_end_are_no_texts(run, stdin):
    stdin("good film\n \n\n")
    outcome = run("explain", "-")
    assert outcome == run("explain", "good film")
    assert outcome[0] == 0


def test_bad_bytes_on_standard_input(run, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(b"caf\xe9 film\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stream)
    assert_refused(run("explain", "-"), "0xe9")


def broken(tmp_path, name, content):
    folder = shutil.copytree(EMBEDDED, tmp_path / "model")
    (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_broken_folders(run, tmp_path, name):
    folder = broken(tmp_path, name, b"{" * 50)
    assert_refused(run("explain", "a", "--model", folder), re.escape(str(folder)))


@pytest.mark.parametrize("content", [b"", b"{" * 50, b"[]", b'{"model_type": "no"}'])
def test_a_broken_configuration_is_blamed(run, tmp_path, content):
    folder = broken(tmp_path, "config.json", content)
    message = f"the configuration in '{re.escape(str(folder))}'"
    assert_refused(run("explain", "a", "--model", folder), message)


def test_a_folder_without_a_tokenizer(run, tmp_path):
    folder = broken(tmp_path, "README.md", b"")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert_refused(run("explain", "a", "--model", folder), "holds no tokenizer")


def test_old_files_survive_bad_input(run, tmp_path):
    (tmp_path / "old.json").write_text("old")
    run("explain", " ", "--json", tmp_path / "old.json")
    assert (tmp_path / "old.json").read_text() == "old"
    assert os.listdir(tmp_path) == ["old.json"]


def test_warnings_of_this_library_are_told_after_success(run, monkeypatch):
    logger = logging.getLogger("chatty")
    logger.addHandler(logging.StreamHandler(sys.stderr))

    def warn_and_predict(*arguments):
        warnings.warn("without a rule: frobnicate", UnruledWarning, stacklevel=1)
        warnings.warn("chatter", UserWarning, stacklevel=1)
        logger.error("chatter")

    monkeypatch.setattr(explain_command, "predict", warn_and_predict)
    code, _, err = run("explain", "a")
    assert (code, err) == (0, "lrp-hooks: without a rule: frobnicate\n")


def test_interrupts_are_no_errors(run, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(explain_command, "predict", interrupt)
    code, out, err = run("explain", "a")
    assert (code, out, err) == (
        130,
        "",
        "lrp-hooks: stopped; files are whole or not there\n",
    )


@pytest.fixture
def interruptible():
    """Interrupts raise, even where a shell's background job ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("kind", [RuntimeError, OSError, ArgumentError, SystemExit])
def test_an_interrupt_that_another_error_takes_the_place_of(run, monkeypatch, kind):
    def interrupt(*arguments):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise kind("release unlocked lock") from error

    monkeypatch.setattr(explain_command, "predict", interrupt)
    code, out, err = run("explain", "a")
    said = "lrp-hooks: stopped; files are whole or not there\n"
    assert (code, out, err) == (130, "", said)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_help(capsys):
    for arguments in (["--help"], ["explain", "--help"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 0
        assert "explain" in capsys.readouterr().out


def test_as_a_process():
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "lrp_hooks.cli",
            "explain",
            "caf\u00e9 \u6620\u753b film",
        ],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert done.stdout.startswith(b"prediction  ")
    assert done.stderr == b""


@pytest.mark.parametrize("arguments", [["explain"], ["compare", "--methods", "lrp"]])
def test_what_standard_output_cannot_write(forks, arguments, tmp_path):
    folder = shutil.copytree(EMBEDDED, tmp_path / "model")
    record = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = record["model"]["vocab"]
    vocabulary["\u6620"] = vocabulary.pop("film")
    (folder / "tokenizer.json").write_text(json.dumps(record))
    ascii_alone = "import sys; sys.stdout.reconfigure(encoding='ascii')\n"
    done = forks.run(ascii_alone + command(*arguments, "\u6620", "--model", folder))
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u6620" in done.stdout


def test_bad_input_as_a_process(forks, tmp_path):
    folder = broken(tmp_path, "model.safetensors", b"x" * 100)
    done = forks.run(command("explain", "a", "--model", folder))
    assert_refused((done.returncode, "", done.stderr.decode()), "model")
    assert done.stdout == b""


def test_a_reader_that_leaves(forks, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as stdout, open(tmp_path / "errors", "wb") as stderr:
        forks.start(command("explain", SENTENCE), stdout, stderr)
    assert forks.wait() == 141
    assert (tmp_path / "errors").read_bytes() == b""


def test_standard_output_that_is_full(forks, tmp_path):
    with open("/dev/full", "wb") as full, open(tmp_path / "errors", "wb") as stderr:
        forks.start(command("explain", "a"), full, stderr)
    assert forks.wait() == 2
    assert (tmp_path / "errors").read_bytes().splitlines() == [
        b"lrp-hooks: standard output cannot be written: No space left on device"
    ]


@pytest.mark.parametrize("command", [["explain"], ["compare", "--methods", "lrp"]])
def test_a_text_that_the_tokenizer_does_not_know_is_named_once(run, command):
    code, out, err = run(*command, "\u090b \u090c good")
    assert code == 0 and "[UNK]" in out
    assert err == (
        "lrp-hooks: 2 of the 3 tokens of the text are unknown to the tokenizer "
        "([UNK]): the model has not read them.\n"
    )
    assert run(*command, "\u090b good")[2] == ""


def test_a_page_says_what_the_model_says(run, tmp_path):
    assert run("explain", SENTENCE, "--html", tmp_path / "a.html")[0] == 0
    html = (tmp_path / "a.html").read_text()
    said = re.search(r">prediction</span> <span [^>]*>([^<]*)</span>", html)[1]
    assert said == "positive (probability 0.9185)"


def test_a_text_without_quotes(run):
    code, out, err = run("explain", "good", "film")
    assert (code, out) == (2, "")
    assert "arguments: film. A text of several words stands in quotes. Try: " in err
    assert "quotes" not in run("explain", "good", "--colour")[2]
