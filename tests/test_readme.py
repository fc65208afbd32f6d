"""The README's examples run and print what it says they print."""

import math
import re
import shlex
from pathlib import Path

import pytest

from lrp_hooks import cli

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
EXAMPLES = [
    (code, shown)
    for (language, code), (following, shown) in zip(BLOCKS, BLOCKS[1:], strict=False)
    if language == "python" and following == "text"
]
INSTALLS = [code for kind, code in BLOCKS if kind == "bash" and "pip install" in code]
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def assert_same_output(printed, shown):
    """Words must agree but for white space, numbers up to what a machine rounds."""
    words = [" ".join(NUMBER.sub("#", text).split()) for text in (printed, shown)]
    assert words[0] == words[1]
    numbers = [map(float, NUMBER.findall(text)) for text in (printed, shown)]
    for here, there in zip(*numbers, strict=True):
        assert math.isclose(here, there, rel_tol=1e-3, abs_tol=2e-3), printed


def test_every_python_block_shows_its_output():
    assert len(EXAMPLES) == sum(language == "python" for language, _ in BLOCKS) > 0


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
