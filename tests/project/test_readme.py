"""The README's examples run and print what it says they print."""

import shlex
from pathlib import Path

import pytest

from examples_in_text import assert_same_output, blocks, examples
from lrp_hooks import cli

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = blocks(README)
EXAMPLES = examples(README)
INSTALLS = [code for kind, code in BLOCKS if kind == "bash" and "pip install" in code]


def test_every_python_block_shows_its_output():
    assert EXAMPLES and all(shown is not None for _, shown in EXAMPLES)


@pytest.mark.parametrize(("code", "shown"), EXAMPLES)
def test_python_examples(code, shown, capsys):
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    assert_same_output(capsys.readouterr().out, shown)


def test_the_first_command_explains_a_sentence(capsys):
    shown = BLOCKS[BLOCKS.index(("bash", INSTALLS[0])) + 1][1]
    (command,) = [line for line in INSTALLS[0].splitlines() if "lrp-hooks" in line]
    assert cli.main(shlex.split(command)[1:]) == 0
    assert_same_output(capsys.readouterr().out, shown)


def test_the_second_command_runs_these_tests():
    assert INSTALLS[1].splitlines()[-1] == "pytest"


def test_outputs_that_differ_are_told_apart():
    assert_same_output("a  +1.0001\n", "a +1.0002")
    for other in ("a +1.1", "b +1.0001", "a +1.0001 2"):
        with pytest.raises(AssertionError):
            assert_same_output("a +1.0001", other)
