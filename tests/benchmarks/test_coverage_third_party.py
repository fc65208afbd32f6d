"""Models of other libraries in the coverage benchmark: listed, made, drawn, counted."""

import json

import pytest
import torch
from torch import nn

# By its full name: a package of the index is called coverage too.
from benchmarks.coverage import calls, report
from benchmarks.coverage.run import read
from benchmarks.coverage.third_party import models, probe
from benchmarks.coverage.third_party import report as third_party

LAYER = {"call": "torch.nn:Linear", "in_features": 4, "out_features": 3}


def listed(spec, kind="model", graph=False):
    return models.Listed("torch.nn", kind, spec, graph)


def test_every_model_is_listed_once_and_says_what_it_is_given():
    every = list(models.listed())
    names = [model.name for model in every]
    assert len(names) == len(set(names)) > 350
    assert len({model.library for model in every}) >= 10
    assert all(":" in model.spec["call"] and model.spec["inputs"] for model in every)


def test_a_description_is_followed_inside_out():
    spec = {"call": "torch.nn:Sequential", "usual": {"bias": False}}
    assert isinstance(models.made(spec), nn.Sequential)
    made = models.made({**LAYER, "usual": {"bias": False, "dim": 9}})
    assert made.bias is None and made.weight.shape == (3, 4)
    assert models.made({"a": [1, {"values": [2, 3]}]})["a"][1].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("spec", "shapes"),
    [
        (["normal 2 3"], [(2, 3)]),
        (["uniform 2 3", "below 5 of 2 4"], [(2, 3), (2, 4)]),
        ([{"grid": [2, 3]}, {"mask": [2, 8]}], [(6, 3), (2, 8)]),
        ([{"join": ["below 3 of 2 1", "below 4 of 2 2"]}, "zeros 1"], [(2, 3), (1,)]),
    ],
)
def test_inputs_are_drawn(spec, shapes):
    found = models.given(spec)
    found = found if isinstance(found, tuple) else (found,)
    assert [tuple(value.shape) for value in found] == shapes


def test_inputs_have_names_or_are_the_one_argument():
    named = models.given({"x": "below 5 of 2 4", "return_dict": False})
    assert named["x"].max() < 5 and named["return_dict"] is False
    (only,) = models.given([{"input_ids": "below 5 of 2 4"}])
    assert set(only) == {"input_ids"}


def test_a_model_is_checked():
    record = probe.probe(listed({**LAYER, "inputs": ["normal 2 4"]}))
    assert record["status"] == "covered" and record["dtype"] == "float64", record


def test_a_sequence_first_model_is_told_its_batch_dim():
    spec = {"call": "torch.nn:TransformerEncoderLayer", "d_model": 8, "nhead": 2}
    spec |= {"dim_feedforward": 16, "inputs": ["normal 5 2 8"], "batch_dim": 1}
    assert probe.probe(listed(spec))["status"] == "covered"


def test_what_cannot_be_made_is_no_failure_of_the_library():
    spec = {"call": "torch.nn:Linear", "in_features": "many", "inputs": ["normal 2"]}
    assert probe.probe(listed(spec))["status"] == "not buildable"


def test_rows_of_an_example_are_projected_together():
    rows = torch.arange(12.0).view(4, 3)
    together = calls.projection(rows, examples=2)
    assert torch.equal(together, calls.projection(rows.view(2, 6)))
    assert len(calls.projection(rows)) == 4


def records():
    base = {"ledger": 0.1, "conservation": 0.1, "remaining": [], "where": []}
    return [
        {**base, "name": "a/A", "status": "covered", "told": False},
        {**base, "name": "a/B", "status": "leak", "told": True},
        {**base, "name": "b/C", "status": "leak", "told": False},
        {"name": "b/D", "status": "not buildable", "reason": "r"},
        {"name": "b/E", "status": "fails", "reason": "loud"},
    ]


def test_silent_is_what_is_open_and_not_told():
    assert third_party.verdict(records()) == (
        "Of 5 models of 2 further libraries 4 run, and **1 of these are covered "
        "(25.0%)**; of the others 1 were silent."
    )
    more = [*records(), {"name": "c/F", "status": third_party.UNCHECKED}]
    assert "4 run (1 are not checked yet), and" in third_party.verdict(more)
    rows = third_party.totals(records()).splitlines()
    assert "| a | 2 | 2 | 1 | 0 | 0 |" in rows and "| b | 3 | 2 | 0 | 0 | 1 |" in rows


def test_the_readmes_show_the_committed_results():
    found = third_party.in_order(read(third_party.RESULTS))
    for path, shown in (
        (third_party.README, third_party.document(found)),
        (report.FRONT, third_party.verdict(found)),
    ):
        text = path.read_text(encoding="utf-8")
        assert report.put(text, shown, third_party.MARK) == text


def test_nothing_of_the_results_is_unlisted():
    names = {model.name for model in models.listed()}
    lines = third_party.RESULTS.read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["name"] for line in lines} <= names
