import json

import pytest
import torch

from benchmarks.overhead import explain, page, run

FAKE = {
    "config": {
        "case": {"model": "m", "batch": 1, "length": 8},
        "threads": 1,
        "rules": "gradient",
    },
    "versions": {"torch": "x"},
    "seconds": {"plain": [1.0, 2.0, 4.0], "in a scope": [1.02, 2.2, 4.04]},
}


def test_the_ratio_is_the_median_over_rounds():
    assert "| m 1x8 | 2.000 | 1.020 |" in run.table(FAKE)
    assert "1.03 is kept" in run.table(FAKE)
    slow = FAKE | {"seconds": {"plain": [1.0], "in a scope": [1.5]}}
    assert "1.03 is missed" in run.table(slow)


def test_the_readme_shows_the_committed_results():
    results = json.loads(run.RESULTS.read_text(encoding="utf-8"))
    config = json.loads((run.HERE / "config.json").read_text(encoding="utf-8"))
    assert results["config"] == config
    assert run.table(results) in page.README.read_text(encoding="utf-8")


EXPLAINED = {
    "config": {"rounds": 3, "threads": 1},
    "versions": {"torch": "x"},
    "cases": [
        {
            "model": "m",
            "vocabulary": 120000,
            "length": 8,
            "first": 3.0,
            "seconds": {"attribute": [1.0, 2.0, 4.0], "explain": [1.1, 2.2, 4.6]},
        }
    ],
}


def test_the_ratio_of_explain_is_the_median_over_rounds():
    assert "| m | 120,000 | 8 | 2.000 | 1.100 | 0.80 |" in explain.table(EXPLAINED)
    assert "1.20 is kept" in explain.table(EXPLAINED)
    slow = {"attribute": [1.0], "explain": [1.3]}
    cases = [*EXPLAINED["cases"], EXPLAINED["cases"][0] | {"seconds": slow}]
    assert "1.20 is missed" in explain.table(EXPLAINED | {"cases": cases})


def test_the_readme_shows_the_committed_results_of_explain():
    results = json.loads(explain.RESULTS.read_text(encoding="utf-8"))
    config = json.loads(explain.CONFIG.read_text(encoding="utf-8"))
    assert results["config"] == config
    assert explain.table(results) in page.README.read_text(encoding="utf-8")


@pytest.mark.parametrize("length", [8, 32])
def test_both_explain_the_same_ids(length):
    tokenizer = explain.build_tokenizer(1000)
    assert len(tokenizer) == 1000
    ids = tokenizer(explain.build_text(length))["input_ids"]
    assert len(ids) == length
    assert tokenizer.unk_token_id not in ids


def test_a_small_run_has_every_case():
    shape = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2}
    config = {
        "models": {"tiny": {**shape, "intermediate_size": 8}},
        "vocabularies": [1000],
        "lengths": [4, 5],
        "rounds": 2,
        "threads": torch.get_num_threads(),
        "seed": 0,
    }
    found = explain.measure(config)["cases"]
    assert [case["length"] for case in found] == [4, 5]
    assert all(len(s) == 2 for case in found for s in case["seconds"].values())
    assert "| tiny | 1,000 | 4 |" in explain.table(EXPLAINED | {"cases": found})
