"""Rules of third parties come in through the entry-point group."""

import subprocess
import sys
import textwrap

from third_party import PLUGIN, seeing

USE = """
    import sys, torch, lrp_hooks
    assert "their_rules" not in sys.modules
    from torch import nn
    names = lrp_hooks.RuleSet.names()
    assert "conservative" in names
    import their_rules
    model = nn.Sequential(their_rules.Doubling(), nn.Linear(3, 1, bias=False))
    x = torch.ones(1, 3)
    with lrp_hooks.instrument(model) as lrp:
        assert torch.allclose(lrp.attribute(x).values, 7 * model[1].weight)
        print(lrp)
"""


def _package(folder, name, code, entry, label="mine"):
    (folder / f"{name}.py").write_text(textwrap.dedent(code))
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(f"[lrp_hooks.rules]\n{label} = {entry}\n")


def test_a_third_party_ships_rules(forks, tmp_path):
    _package(tmp_path, "their_rules", PLUGIN, "their_rules")
    done = forks.run(seeing(tmp_path, USE))
    assert done.returncode == 0, done.stderr
    assert b"DoublingRule" in done.stdout


def test_a_third_party_that_cannot_be_imported_is_named_and_left_out(forks, tmp_path):
    _package(tmp_path, "broken_rules", "import no_such_module", "broken_rules")
    done = forks.run(
        seeing(tmp_path, "import lrp_hooks; print(lrp_hooks.RuleSet.names())")
    )
    assert done.returncode == 0, done.stderr
    assert b"broken_rules" in done.stderr
    assert b"no_such_module" in done.stderr
    assert b"conservative" in done.stdout


def _run(folder, code):
    """Run code in an interpreter of its own, which has imported nothing yet."""
    program = f"import sys; sys.path.insert(0, {str(folder)!r})\n" + textwrap.dedent(
        code
    )
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )


BROKEN = {
    "import": "import no_such_module",
    "runtime": "raise RuntimeError('of theirs')",
    "division": "1 / 0",
    "syntax": "def f(:",
    "attribute": "torch.ops.nope.nope",
    "registration": "RuleSet.named('attnlrp').save_as('attnlrp')",
    "exit": "sys.exit(3)",
    "recursion": "f = lambda: f()\nf()",
    "assertion": "assert False",
}
FIRST = """
import sys, torch
from lrp_hooks import RuleSet, ScopeRule, register
from lrp_hooks.engine import add_functions, register_shape

@register("somewhere.Layer")
class Rule(ScopeRule):
    pass

register(torch.nn.Bilinear, family="linear")
register(torch.nn.Linear, family="product", overwrite=True)
register_shape("product", "theirs", lambda module: True)
add_functions({torch.special.ndtr: None})
RuleSet.named("conservative").save_as("theirs")
"""
LAID_OUT = """
    import sys, warnings, torch, lrp_hooks
    from lrp_hooks.engine import registry, ruleset
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Hardshrink())
        with lrp_hooks.instrument(model) as lrp:
            print(lrp)
        lrp_hooks.instrument(model).remove()
    for warning in caught:
        assert issubclass(warning.category, lrp_hooks.errors.LrpHooksWarning)
        print("WARNED", warning.message)
    print("NAMES", *lrp_hooks.RuleSet.names())
    print("KEPT", "somewhere.Layer" in registry._entries, end=" ")
    print(torch.nn.Bilinear in registry._entries, registry._entries[torch.nn.Linear],
          [why for _, _, why in registry._shapes if why == "theirs"],
          torch.special.ndtr in ruleset.common_functions())
    import their_rules
    print("THEIRS", their_rules.Doubling in registry._entries)
"""


def test_whatever_is_wrong_with_them_is_named_and_taken_back(tmp_path):
    for name, code in BROKEN.items():
        whole = code if name == "syntax" else f"{FIRST}{code}"
        _package(tmp_path, f"a_{name}", whole, f"a_{name}", f"of_{name}")
    _package(tmp_path, "their_rules", PLUGIN, "their_rules")
    needs = f"{FIRST}import their_rules\nraise ValueError"
    _package(tmp_path, "a_needs", needs, "a_needs", "of_needs")
    done = _run(tmp_path, LAID_OUT)
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stdout.splitlines() if line.startswith("WARNED")]
    assert len(warned) == len(BROKEN) + 1
    for name in (*BROKEN, "needs"):
        assert any(f"'of_{name}' (a_{name})" in line for line in warned)
    assert "ZeroDivisionError: division by zero" in done.stdout
    assert "theirs" not in done.stdout.partition("NAMES")[2].partition("KEPT")[0]
    assert "KEPT False False linear [] False" in done.stdout
    assert "THEIRS True" in done.stdout


BREAK = """
    import sys, types
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "lrp_hooks.rules.recurrence" and breaks:
                raise breaks.pop()
    sys.meta_path.insert(0, Finder())
    import torch, lrp_hooks
"""


def test_broken_built_in_rules_are_an_error(tmp_path):
    done = _run(
        tmp_path,
        f"""
    breaks = [ImportError("a file is gone")]
    {BREAK}
    try:
        lrp_hooks.instrument(torch.nn.Linear(2, 2))
    except lrp_hooks.errors.RegistrationError as error:
        print(error)
    """,
    )
    assert done.returncode == 0, done.stderr
    assert "built-in rules cannot be imported: ImportError: a file is gone" in (
        done.stdout
    )


def test_an_interrupted_import_is_done_again(tmp_path):
    done = _run(
        tmp_path,
        f"""
    breaks = [KeyboardInterrupt()]
    {BREAK}
    try:
        lrp_hooks.instrument(torch.nn.Linear(2, 2))
    except KeyboardInterrupt:
        print(lrp_hooks.instrument(torch.nn.LSTM(2, 2)))
    """,
    )
    assert done.returncode == 0, done.stderr
    assert "Recurrence" in done.stdout
