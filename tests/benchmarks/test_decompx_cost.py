import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.cost.methods import methods_of
from benchmarks.decompx import report, run
from benchmarks.decompx.methods import ONE_CLASS, TWO_CLASSES
from lrp_hooks.explainers.decompx.decomposition import Settings
from lrp_hooks.explainers.decompx.forward import decompose_batch, record_encoder
from lrp_hooks.explainers.decompx.reading import find_place

EXACT = "decomposition, absdot"
ENVIRONMENT = "threads cores cpu python torch transformers lrp_hooks".split()
FAKE = {
    "config": {"rules": ["absdot"]},
    "date": "today",
    "environment": dict.fromkeys(
        "threads cores cpu python torch transformers lrp_hooks".split(), "x"
    ),
    "cases": {
        "m 1x32": {
            "model": "m",
            "batch": 1,
            "length": 32,
            "seconds": {
                "forward": [1.0, 2.0, 4.0],
                ONE_CLASS: [1.9, 4.2, 7.6],
                TWO_CLASSES: [3.1, 6.2, 12.4],
                EXACT: [16.0, 32.0, 80.0],
            },
            "peak_bytes": {ONE_CLASS: 10 << 20, EXACT: 80 << 20},
        }
    },
}


def test_the_table_shows_medians_and_what_is_missed():
    table = report.table(FAKE)
    assert "| m | 1 x 32 | 1.90 | 3.10 | 16 | 24 | 10 | 80 | 195 |" in table
    assert "* one class: 1.90 of at most 2.00 (32 tokens) forward passes." in table
    assert "3.10 of at most 3.00 (32 tokens: missed)" in table
    assert "16 of at most 17 (32 tokens)" in table
    assert "80 of at most 70 (32 tokens: missed) MiB" in table


def test_the_pages_show_the_committed_results():
    results = json.loads(run.RESULTS.read_text(encoding="utf-8"))
    assert results["config"] == json.loads(run.CONFIG.read_text(encoding="utf-8"))
    for path in report.PAGES:
        assert report.table(results) in path.read_text(encoding="utf-8")


def test_a_configuration_names_its_methods():
    config = json.loads(run.CONFIG.read_text(encoding="utf-8"))
    assert list(methods_of(config)) == ["forward", ONE_CLASS, TWO_CLASSES, EXACT]


def test_multiplications_are_those_that_torch_counts():
    sizes = {"hidden_size": 96, "intermediate_size": 384, "num_attention_heads": 4}
    config = BertConfig(vocab_size=40, num_hidden_layers=4, **sizes)
    config._attn_implementation = "eager"  # torch does not count the fused kernel's
    model, ids = BertForSequenceClassification(config).eval(), torch.ones(1, 48).long()
    recording = record_encoder(model, ids, find_place(model, ids))
    with torch.no_grad():
        with FlopCounterMode(display=False) as plain:
            model(ids)
        with FlopCounterMode(display=False) as ours:
            decompose_batch(recording, Settings("absdot"), (), whole=False)
    counted = ours.get_total_flops() / plain.get_total_flops()
    assert report.multiplications(config, 48) == pytest.approx(counted, rel=0.05)
