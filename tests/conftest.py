"""What every test gets: one hypothesis profile, a clean registry, no hook left over."""

import gc
import io
import os
import sys
import weakref
from pathlib import Path

import pytest
import torch
from hypothesis import settings

import lrp_hooks
import shared_models
from explorer_server import serving
from lrp_hooks import cli
from lrp_hooks.attribution import claims
from lrp_hooks.commands import chosen
from lrp_hooks.engine import registry, ruleset
from lrp_hooks.engine.stack import active_scope
from processes import forking
from shared_models import changed

# Where a change is judged, it gets the same verdict each time; elsewhere draws differ.
settings.register_profile(
    "lrp_hooks", deadline=None, max_examples=25, derandomize="CI" in os.environ
)
settings.load_profile("lrp_hooks")
torch.set_num_threads(1)  # the tensors are small, and other processes need cores too

TESTS = Path(__file__).parent
# `pytest -m quick`: some of every room, laws and oracles first, in less than a minute.
QUICK = """
    attribution/test_attribute attribution/test_latent_layers
    attribution/test_readout captum/test_toys commands/test_rules_and_audit
    engine/test_autograd engine/test_foreign engine/test_registry engine/test_rule
    engine/test_unruled
    explainers/slalom/test_sampling explainers/slalom/test_surrogate
    explainers/test_random_baseline faithfulness/test_curve
    faithfulness/test_golden_flip faithfulness/test_metrics_by_hand
    generation/test_arguments render/test_colour render/test_evaluation_report
    render/test_pointing render/test_record render/test_terminal render/test_text
    results/test_agreement results/test_relevance results/test_words
    rules/test_attention rules/test_embedding rules/test_gate
    rules/test_normalization rules/test_product rules/test_rms_norm
    support/test_files test_patching texts/test_tables
""".split()


# `pytest -m slow`: browsers, processes, sites, every function, every line: a third of
# the time of all tests. `pytest` alone leaves them out; CI runs them, too.
SLOW = """
    attribution/test_atomic attribution/test_processes
    benchmarks/test_molecules
    browser/test_explorer browser/test_explorer_answer browser/test_explorer_circuit
    browser/test_explorer_generate browser/test_explorer_layers
    browser/test_explorer_picture
    browser/test_pages
    captum/test_rules
    commands/test_evaluate_resume commands/test_manual commands/test_serve
    engine/test_plugins
    explainers/decompx/test_architectures explainers/decompx/test_paths
    explainers/slalom/test_trained_models
    many/test_processes many/test_ray many/test_resume
    project/test_docs project/test_examples project/test_packaging
    project/test_quick_start
    rules/test_every_function
    whole_models/test_ranks
""".split()


def is_of(path, names):
    return path.relative_to(TESTS).with_suffix("").as_posix() in names


def is_left_out(path, config):
    asked = config.option.markexpr
    if asked in {"quick", "slow"}:
        return not is_of(path, QUICK if asked == "quick" else SLOW)
    everything = config.args_source is config.ArgsSource.TESTPATHS
    return not asked and everything and is_of(path, SLOW)


def pytest_ignore_collect(collection_path, config):
    """Do not even import what is left out."""
    is_test = collection_path.suffix == ".py"
    return (is_test and is_left_out(collection_path, config)) or None


def pytest_collection_modifyitems(items):
    for item in items:
        for mark, names in (("quick", QUICK), ("slow", SLOW)):
            if is_of(item.path, names):
                item.add_marker(mark)


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
    before = weakref.WeakSet(claims._claimed)
    yield
    assert active_scope() is None
    assert not torch.overrides._get_current_function_mode_stack()
    assert torch.is_grad_enabled()
    if len(claims._claimed) > len(before):
        gc.collect()
    left = {type(module).__name__ for module in claims._claimed if module not in before}
    assert not left, f"still instrumented: {left}"


@pytest.fixture(autouse=True, scope="module")
def shared_models_unchanged():
    """Verify that the tests of a module leave models that others read as they were."""
    yield
    assert not changed(), "a test changed a model that others read"


@pytest.fixture(autouse=True, scope="session")
def all_shared_models_unchanged():
    """Verify the same of models that live in fixtures of a whole session."""
    yield
    assert not changed(of_all=True), "a test changed a model that others read"


@pytest.fixture(scope="module")
def sentiment():
    """The embedded model and its tokenizer, for reading only."""
    return shared_models.sentiment()


@pytest.fixture
def loaded_once(monkeypatch, sentiment):
    """Let commands explain the embedded model without loading it each time."""
    monkeypatch.setattr(chosen, "sentiment_model", lambda: sentiment)


@pytest.fixture(scope="session")
def client():
    """One explorer of the embedded model for all tests that leave it as it is."""
    with serving(*shared_models.sentiment()) as client:
        yield client


@pytest.fixture(scope="session")
def forked():
    """One process that has imported everything, for all tests that fork it."""
    with forking() as forks:
        yield forks


@pytest.fixture
def forks(forked):
    """What runs programs in processes of their own, without waiting for imports."""
    yield forked
    forked.end()


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
