"""The coverage benchmark: how it shrinks, checks, resumes and reports."""

import json

import pytest
import torch
from torch import nn
from transformers import BertConfig, GPT2Config, JambaConfig, LlamaConfig

# By its full name: a package of the index is called coverage too.
from benchmarks.coverage import (
    architectures,
    inputs,
    probe,
    report,
    run,
    shrink,
)
from lrp_hooks import instrument

BERT = architectures.Architecture("masked-lm", "bert", "BertForMaskedLM")


class _Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


class Leaky(nn.Module):
    """Makes relevance of nothing: its backward is twice its forward."""

    def forward(self, x):
        return _Double.apply(x)


def records():
    return [
        {
            "name": "masked-lm/a/A",
            "status": "covered",
            "ledger": 1e-9,
            "conservation": 1e-9,
            "remaining": [],
            "unruled": [["f", "m"]],
        },
        {
            "name": "masked-lm/b/B",
            "status": "leak",
            "ledger": 0.5,
            "conservation": 0.5,
            "remaining": ["t"],
            "unruled": [["f", "m"]],
            "told": True,
            "where": [{"module": "x.y", "type": "Z", "leak": 0.5}],
        },
        {"name": "causal-lm/c/C", "status": "not buildable", "reason": "a | b"},
    ]


def test_every_auto_class_of_the_tasks_is_listed_once():
    names = [architecture.name for architecture in architectures.architectures()]
    assert len(names) == len(set(names)) > 950
    assert {name.split("/")[0] for name in names} == set(architectures.TASKS)


def test_shrinking_goes_by_the_names_of_attributes():
    small = shrink.shrink(BertConfig(), {"type_vocab_size": 3})
    assert (small.hidden_size, small.num_hidden_layers) == (32, 2)
    assert small.type_vocab_size == 3
    assert shrink.shrink(GPT2Config(), {}).n_embd == 32


def test_a_token_stands_for_images_where_a_configuration_names_none():
    assert shrink.small_value("image_token_index", None) == shrink.SPECIAL_ID
    assert shrink.small_value("audio_end_id", None) is None


def test_heads_for_keys_stay_grouped_only_where_they_are():
    grouped = shrink.shrink(LlamaConfig(num_key_value_heads=8), {})
    assert (grouped.num_attention_heads, grouped.num_key_value_heads) == (4, 2)
    assert shrink.shrink(LlamaConfig(), {}).num_key_value_heads == 4


def test_one_layer_of_each_kind_is_kept():
    kinds = ["a"] * 5 + ["b"] + ["a"] * 6
    small = shrink.small_layers({"num_hidden_layers": 12, "layer_types": kinds})
    assert small == {"num_hidden_layers": 2, "layer_types": ["a", "b"]}
    assert len(shrink.shrink(JambaConfig(), {}).layer_types) >= 2


def test_weights_are_drawn_so_that_biases_and_statistics_matter():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    nn.init.zeros_(model[0].bias)
    architectures.randomise(model)
    assert model[0].bias.abs().min() > 0
    assert model[1].running_mean.abs().min() > 0
    assert model[1].running_var.min() >= 0.5


def test_an_architecture_is_probed():
    record = probe.probe(BERT)
    assert record["status"] == "covered", record
    assert record["dtype"] == "float64"
    assert record["conservation"] <= probe.TOLERANCE


def test_inputs_fit_the_model():
    model = architectures.build(BERT)
    given = inputs.random_inputs(model, BERT.task)
    assert given["input_ids"].shape == (inputs.BATCH, inputs.LENGTH)
    assert bool(given["attention_mask"].all())


def test_the_leaking_module_is_named_first():
    model = nn.Sequential(nn.Linear(4, 4), Leaky(), nn.Linear(4, 2)).double()
    with instrument(model) as lrp:
        found = probe.leaks(lrp, {"input": torch.randn(2, 4, dtype=torch.float64)})
    assert found[0]["module"] == "1"
    assert found[0]["type"] == "Leaky"


def test_what_is_checked_is_not_checked_again(tmp_path):
    path = tmp_path / "results.jsonl"
    assert run.finished(path) == set()
    path.write_text(json.dumps({"name": "a", "status": "leak"}) + '\n{"name": "b", ')
    assert run.finished(path) == {"a"}


def test_the_last_line_of_a_name_counts(tmp_path):
    path = tmp_path / "results.jsonl"
    lines = [{"name": "a", "status": status} for status in ("leak", "covered")]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert run.read(path) == [lines[1]]


def test_totals_are_of_what_is_listed_and_built():
    assert report.verdict(records()) == (
        "Of 3 listed architectures 2 can be built tiny (66.7%), and **1 of these are "
        "covered (50.0%)**."
    )
    rows = report.totals(records()).splitlines()
    assert "| masked-lm | 2 | 2 | 1 | 1 |" in rows
    assert "| causal-lm | 1 | 0 | 0 | 0 |" in rows


def test_the_report_names_leaks_reasons_and_functions():
    text = report.document(records())
    assert "| masked-lm/b/B | leak | yes | `x.y` (Z) 5.0e-01 |" in text
    assert "| causal-lm/c/C | a \\| b |" in text
    assert "| `f` | a, b |" in text


def test_markers_keep_what_stands_around_them():
    text = "a\n<!-- coverage:begin -->\nold\n<!-- coverage:end -->\nb\n"
    once = report.put(text, "new")
    assert once.startswith("a\n") and once.endswith("\nb\n") and "old" not in once
    assert report.put(once, "new") == once
    with pytest.raises(ValueError, match="once"):
        report.put("", "new")


def test_the_readme_shows_the_committed_results():
    text = report.README.read_text(encoding="utf-8")
    shown = report.document(report.listed(run.read(run.RESULTS)))
    assert report.put(text, shown) == text
    front = report.FRONT.read_text(encoding="utf-8")
    total = report.verdict(report.listed(run.read(run.RESULTS)))
    assert report.put(front, total) == front
