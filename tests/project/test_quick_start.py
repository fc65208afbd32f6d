"""What answers at once: nothing heavy is imported before it is needed."""

import io
import subprocess
import sys

import pytest

import lrp_hooks
from lrp_hooks.commands.waiting import waiting

HEAVY = ("torch", "captum", "transformers", "matplotlib", "pandas", "sklearn", "scipy")


def loaded_after(code):
    """The heavy packages that a fresh interpreter has after some code."""
    script = f"{code}\nimport sys\nprint('loaded', *{set(HEAVY)} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split()) - {"loaded"}


def command(*arguments):
    return (
        "import sys\nfrom lrp_hooks.cli import main\n"
        f"try: main({list(arguments)!r})\nexcept SystemExit: pass"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["explain", "--help"],
        ["evaluate", "--help"],
        ["--nosuch"],
        ["explain", "a", "--nosuch"],
        ["nosuch"],
        ["serve", "--port", "70000"],
    ],
)
def test_help_and_wrong_options_answer_before_torch(arguments):
    assert loaded_after(command(*arguments)) == set()


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import lrp_hooks", set()),
        ("import lrp_hooks.errors", set()),
        ("from lrp_hooks import instrument, RuleSet; RuleSet.names()", {"torch"}),
        ("from lrp_hooks import explain, compare, explain_generation", {"torch"}),
        ("from lrp_hooks import faithfulness", {"torch"}),
        ("from lrp_hooks.explainers import LRP, DecompX, AttentionRollout", {"torch"}),
    ],
)
def test_an_import_brings_what_it_uses_alone(code, heavy):
    assert loaded_after(code) == heavy


def test_every_public_name_is_there():
    for name in lrp_hooks.__all__:
        assert getattr(lrp_hooks, name) is not None
    assert set(lrp_hooks.__all__) <= set(dir(lrp_hooks))


def test_functions_keep_their_names_whatever_was_imported_first():
    code = (
        "import lrp_hooks.attribution.instrument, lrp_hooks.explainers.explain\n"
        "import lrp_hooks.explainers.compare, lrp_hooks.results.layer_flow\n"
        "import lrp_hooks.attribution.latent, lrp_hooks.generation, lrp_hooks\n"
        "names = 'instrument explain compare layer_flow heads explain_generation'\n"
        "assert all(callable(getattr(lrp_hooks, name)) for name in names.split())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_version_is_said(capsys):
    with pytest.raises(SystemExit) as left:
        lrp_hooks.cli.main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"lrp-hooks {lrp_hooks.__version__}\n"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_a_terminal_is_told_what_is_waited_for(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with waiting(stream, "loading the model"):
        pass
    assert "loading the model" in stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), None])
def test_files_and_pipes_are_told_nothing(stream):
    with waiting(stream, "loading the model"):
        pass
    assert stream is None or not stream.getvalue()
