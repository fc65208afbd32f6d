"""What every test gets: one hypothesis profile, a clean registry, no hook left over."""

import gc
import io
import os
import sys
import weakref

import pytest
import torch
from hypothesis import settings

import lrp_hooks
from lrp_hooks import cli
from lrp_hooks.attribution import instrument
from lrp_hooks.engine import registry, ruleset
from lrp_hooks.engine.scope import active_scope

# Where a change is judged, it gets the same verdict each time; elsewhere draws differ.
settings.register_profile(
    "lrp_hooks", deadline=None, max_examples=25, derandomize="CI" in os.environ
)
settings.load_profile("lrp_hooks")
torch.set_num_threads(1)  # the tensors are small, and other processes need cores too


@pytest.fixture(autouse=True)
def isolated_registry():
    """Undo what a test registers."""
    ruleset.load_rules()
    tables = (registry._entries, ruleset._functions, lrp_hooks.RuleSet._named)
    before = [dict(table) for table in tables]
    shapes = list(registry._shapes)
    yield
    for table, kept in zip(tables, before, strict=True):
        table.clear()
        table.update(kept)
    registry._shapes[:] = shapes


@pytest.fixture(autouse=True)
def nothing_left_over():
    """Verify that a test closes every scope and takes its hooks off again."""
    before = weakref.WeakSet(instrument._instrumented)
    yield
    assert active_scope() is None
    assert not torch.overrides._get_current_function_mode_stack()
    assert torch.is_grad_enabled()
    if len(instrument._instrumented) > len(before):
        gc.collect()
    left = {
        type(module).__name__
        for module in instrument._instrumented
        if module not in before
    }
    assert not left, f"still instrumented: {left}"


@pytest.fixture
def run(capfd):
    """Run the command line: exit code, standard output, standard error."""

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def stdin(monkeypatch):
    """Set what standard input says."""

    def set_text(text):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    return set_text
