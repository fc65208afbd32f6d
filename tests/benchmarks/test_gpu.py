"""The benchmark of accelerators, run small on the CPU."""

import json

import pytest
import torch

from benchmarks.gpu import report, run

SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 50,
}


@pytest.fixture(scope="module")
def results():
    config = json.loads(run.CONFIG.read_text())
    for shape in config["models"].values():
        kept = {k: v for k, v in SMALL.items() if k in shape["config"]} | {
            "vocab_size": 50
        }
        shape["config"] |= SMALL if shape["model_type"] == "bert" else kept
        if "num_key_value_heads" in shape["config"]:
            shape["config"] |= {"num_attention_heads": 2, "num_key_value_heads": 1}
    config["cost"] |= {"sizes": [[2, 6]], "rounds": 2}
    config["long"] |= {"lengths": [12], "rounds": 2}
    return run.measured(config, torch.device("cpu"))


def test_the_cpu_agrees_with_itself(results):
    in_full = [r for r in results["agreement"] if r["dtype"] == "float32"]
    assert len(in_full) == 12
    assert all(r["difference"] == 0 for r in in_full)
    closing = [r for r in in_full if r["rules"] != "ah+ln"]
    assert max(r["ledger"] for r in closing) < 1e-4


def test_costs_are_ratios_of_what_was_timed(results):
    for record in results["cost"] + results["long"]:
        assert record["forward"] > 0 and record["ours"] > 0
        assert set(record["mib"].values()) == {None}  # a CPU does not count


def test_tables_have_a_row_for_each_record(results):
    lines = report.tables(results).splitlines()
    rows = [line for line in lines if line.startswith("| ") and "---" not in line]
    found = results["agreement"] + results["cost"] + results["long"]
    assert len(rows) == len(found) + 2


def test_without_cuda_a_line_says_so(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["run"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run.main()
    assert capsys.readouterr().out == (
        "benchmarks.gpu: there is no CUDA here, so nothing was measured.\n"
    )
