"""Rules of third parties come in through the entry-point group."""

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


def _package(folder, name, code, entry):
    (folder / f"{name}.py").write_text(textwrap.dedent(code))
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(f"[lrp_hooks.rules]\nmine = {entry}\n")


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
