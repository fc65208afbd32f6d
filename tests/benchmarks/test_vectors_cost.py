import json
import sys

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.cost.methods import methods_of
from benchmarks.vectors import depass, report, run, selective
from benchmarks.vectors.decomposition import ONE_CLASS, VECTORS
from benchmarks.vectors.maps import MAPS, RELEVANCE

NAMES = "threads cores cpu python torch transformers lrp_hooks".split()


def fake(**methods):
    entry = {
        "model": "m",
        "batch": 1,
        "length": 32,
        "seconds": {"forward": [1.0, 2.0], **methods},
        "peak_bytes": dict.fromkeys(methods, 10 << 20),
    }
    return {
        "date": "today",
        "environment": dict.fromkeys(NAMES, "x"),
        "cases": {"m": entry},
    }


def test_the_tables_show_medians():
    vectors = fake(**{ONE_CLASS: [2.0, 4.0], VECTORS: [16.0, 32.0]})
    assert "| m | 1 x 32 | 1.00 | 2.00 | 16 | 0.50 | 10 |" in report.table(
        "vectors", vectors
    )
    maps = fake(**{RELEVANCE: [2.0, 4.0], MAPS: [16.0, 32.0]})
    assert "| m | 1 x 32 | 1.00 | 2.00 | 16 | 16 | 10 |" in report.table("maps", maps)


@pytest.mark.parametrize("part", run.PARTS)
def test_the_page_shows_the_committed_results(part):
    results = json.loads(report.RESULTS[part].read_text(encoding="utf-8"))
    assert results["config"] == run.load(quick=False)[part]
    assert list(methods_of(results["config"])) == list(
        next(iter(results["cases"].values()))["seconds"]
    )
    assert report.table(part, results) in report.README.read_text(encoding="utf-8")


def test_the_page_shows_how_mamba_lrp_differs():
    results = json.loads(selective.RESULTS.read_text(encoding="utf-8"))
    config = json.loads(selective.CONFIG.read_text(encoding="utf-8"))
    assert results["config"] == config["selective"]
    assert selective.table(results) in report.README.read_text(encoding="utf-8")


DEPASS = """
import torch

class decomposed_state_manager:
    def __init__(self, model, tokenizer, mlp_decomposed_function, ignore_special_token):
        self.layers = model.model.layers
        assert mlp_decomposed_function in ("softmax", "linear")
        assert not ignore_special_token

    def compute_decomposed_state(self, start):
        one = self.layers[0].self_attn
        assert (one.num_heads, one.num_key_value_heads) == (2, 1)
        one.rotary_emb(self.states[0], torch.arange(self.attribute_len)[None])
        assert self.masks == [None, None] and self.causals == [True, True]
        return torch.diag_embed(self.states[-1][0].T).permute(1, 2, 0)
"""
STREAM = """
import torch

def get_stream_from_prompt(tokenizer, model, prompt):
    ids = torch.tensor([tokenizer.encode(prompt)])
    states = model(input_ids=ids, output_hidden_states=True).hidden_states
    return list(states), [], states
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "DePass"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "manager.py").write_text(DEPASS)
    (folder / "utils.py").write_text(STREAM)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "DePass"]:
        del sys.modules[name]


def test_depass_is_run_from_a_folder_and_compared(package):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    model = LlamaForCausalLM(config).eval()
    before = {name for name, _ in model.named_modules()}
    each = {share: depass.published(package, model, share) for share in depass.SHARES}
    assert {name for name, _ in model.named_modules()} == before
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    found = depass.measure(model, batch, each, rounds=(2, 2), budget=60)
    # All of a token's vector is its own here, so nothing is left out.
    assert found["left out"] == {"softmax": 0.0, "linear": 0.0}
    assert all(0 < value < 1 for value in found["correlation"].values())
    assert {len(s) for s in found["seconds"].values()} == {2}
    seconds = {"forward": [1.0], "vectors": [15.0], "softmax": [30.0], "linear": [20.0]}
    results = fake()
    results["cases"]["m"] |= {
        "seconds": seconds,
        "correlation": {"softmax": 0.75, "linear": 0.5},
        "left out": {"softmax": 0.0, "linear": 0.25},
    }
    shown = "| m | 1 x 32 | 15 | 30 | 20 | 0.7500, 0.5000 | 0.0000, 0.2500 |"
    assert shown in depass.table(results)


def test_the_page_shows_what_depass_costs():
    results = json.loads(depass.RESULTS.read_text(encoding="utf-8"))
    assert results["config"] == run.load(quick=False)["vectors"]
    assert depass.table(results) in report.README.read_text(encoding="utf-8")
