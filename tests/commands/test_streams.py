"""Standard input and output: blank lines are counted, ``--json -`` is JSON alone."""

import json
import os
import warnings

import pytest

from command_line import SENTENCE, assert_refused
from lrp_hooks import ConstantsWarning, LrpHooksWarning

pytestmark = pytest.mark.usefixtures("loaded_once")

COMMANDS = {
    "explain": ["explain", SENTENCE],
    "compare": ["compare", SENTENCE, "--methods", "lrp,saliency"],
    "audit": ["audit", SENTENCE],
    "rules": ["rules"],
    "closed-forms": ["closed-forms"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_json_on_standard_output(run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*COMMANDS[name], "--json", "-")
    assert (code, err) == (0, "")
    assert os.listdir(tmp_path) == []
    assert run(*COMMANDS[name], "--json", "a.json")[0] == 0
    there, here = json.loads((tmp_path / "a.json").read_text()), json.loads(out)
    assert shape_of(there) == shape_of(here)  # seconds and last digits may differ


def shape_of(record):
    """What a record holds, without its fractions."""
    if isinstance(record, dict):
        return {key: shape_of(value) for key, value in record.items()}
    if isinstance(record, list):
        return list(map(shape_of, record))
    return None if isinstance(record, float) else record


def test_an_evaluation_on_standard_output(run, data, tmp_path):
    more = ("--data", data, "--limit", 2, "--methods", "lrp", "--metrics", "aopc")
    code, out, err = run("evaluate", *more, "--out", tmp_path, "--json", "-")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads((tmp_path / "summary.json").read_text())


def test_files_beside_standard_output(run, tmp_path):
    page = tmp_path / "a.html"
    code, out, _ = run("explain", SENTENCE, "--json", "-", "--html", page)
    assert code == 0 and page.read_text().startswith("<!doctype html>")
    assert json.loads(out)["text"] == SENTENCE


@pytest.mark.parametrize("kind", ["html", "png", "svg"])
def test_nothing_else_goes_there(run, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    assert_refused(run("explain", "a", f"--{kind}", "-"), f"--{kind} '-'.*--json alone")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "arguments", [["explain"], ["compare", "--methods", "lrp"], ["audit"]]
)
def test_blank_lines_are_left_out_and_counted(run, stdin, arguments):
    name, *more = arguments
    stdin("\ngood film\n \t\nbad film\n\n\n")
    code, out, err = run(name, "-", *more, "--json", "-")
    assert code == 0
    assert err == (
        "lrp-hooks: 2 of 4 lines of standard input are blank and left out.\n"
    )
    stdin("good film\nbad film\n")
    code, plain, err = run(name, "-", *more, "--json", "-")
    assert (code, err) == (0, "")
    there, here = json.loads(plain), json.loads(out)
    for record in (there, here):
        if isinstance(record, dict):
            record.pop("costs", None)
    assert there == here


@pytest.mark.parametrize("text", ["\n", " \n\t\n"])
def test_nothing_but_blank_lines(run, stdin, text):
    stdin(text)
    assert_refused(run("explain", "-"), "standard input is blank")


@pytest.mark.parametrize("number", [1, 5, 6, 40])
def test_warnings_of_many_texts_are_counted(run, monkeypatch, number):
    def warned(arguments, stderr):
        for n in range(number):
            for _ in range(2):
                warnings.warn(f"text {n} is odd", LrpHooksWarning, stacklevel=1)
        warnings.warn("and one of another kind", ConstantsWarning, stacklevel=1)

    monkeypatch.setattr("lrp_hooks.commands.rules.run", warned)
    code, _, err = run("rules")
    told = [line.removeprefix("lrp-hooks: ") for line in err.splitlines()]
    first = [f"text {n} is odd" for n in range(min(number, 5))]
    more = [f"{number - 5} more warnings of this kind (LrpHooksWarning)"]
    assert code == 0
    assert told == [*first, *more * (number > 5), "and one of another kind"]
