"""The README's examples run and print what it says they print."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

import lrp_hooks
from examples_in_text import assert_same_output, blocks, examples
from lrp_hooks import cli

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = blocks(README)
EXAMPLES = examples(README)
INSTALLS = [code for kind, code in BLOCKS if kind == "bash" and "pip install" in code]
PICTURE = runpy.run_path(str(ROOT / "docs" / "picture.py"))


def test_it_is_short():
    assert len(README.splitlines()) <= 250


def test_documents_name_the_version_of_the_package():
    version = lrp_hooks.__version__
    assert f"version = {{{version}}}" in README
    for name, line in (("CITATION.cff", "version: {}\n"), ("CHANGELOG.md", "## [{}]")):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "\n" + line.format(version) in text, name


def test_every_python_block_shows_its_output():
    assert EXAMPLES and all(shown is not None for _, shown in EXAMPLES)


@pytest.mark.parametrize(("code", "shown"), EXAMPLES)
def test_python_examples(code, shown, capsys):
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    assert_same_output(capsys.readouterr().out, shown)


def test_the_first_command_explains_the_same_sentence(capsys):
    """In the shell and in Python, a token has the same score."""
    (command,) = [line for line in INSTALLS[0].splitlines() if "lrp-hooks" in line]
    assert cli.main(shlex.split(command)[1:]) == 0
    table = capsys.readouterr().out.split("\n\n")[1]
    shown = EXAMPLES[0][1].partition("Ledger")[0]
    assert_same_output(table, shown)


def test_the_second_command_runs_these_tests():
    assert INSTALLS[1].splitlines()[-1] == "pytest -n auto"


def test_the_commands_that_ci_runs_come_first():
    assert [code for kind, code in BLOCKS if kind == "bash"][:2] == INSTALLS[:2]


def test_the_picture_is_what_the_library_draws(tmp_path):
    """Its texts, which an SVG names beside their outlines, and its colours."""
    PICTURE["draw"](tmp_path / "now.svg")
    now = (tmp_path / "now.svg").read_text(encoding="utf-8")
    committed = PICTURE["PATH"].read_text(encoding="utf-8")
    assert_same_output(texts(now), texts(committed))
    for here, there in zip(colours(now), colours(committed), strict=True):
        assert max(abs(a - b) for a, b in zip(here, there, strict=True)) <= 1


def test_the_picture_is_of_the_first_commands_sentence():
    assert f"({PICTURE['PATH'].relative_to(ROOT).as_posix()})" in README
    assert PICTURE["TEXT"] in INSTALLS[0]
    table = EXAMPLES[0][1].partition("Ledger")[0]
    tokens = [line.split()[0] for line in table.splitlines()]
    shown = texts(PICTURE["PATH"].read_text(encoding="utf-8")).splitlines()
    assert shown[: len(tokens)] == tokens


def texts(svg):
    """Return what an SVG writes, one text a line."""
    return "\n".join(re.findall(r"<!-- (.*?) -->", svg))


def colours(svg):
    """Return what an SVG is filled with, in its order."""
    return [bytes.fromhex(code) for code in re.findall("fill: #([0-9a-f]{6})", svg)]


def test_outputs_that_differ_are_told_apart():
    assert_same_output("a  +1.0001\n", "a +1.0002")
    for other in ("a +1.1", "b +1.0001", "a +1.0001 2"):
        with pytest.raises(AssertionError):
            assert_same_output("a +1.0001", other)
