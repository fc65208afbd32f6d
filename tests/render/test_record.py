"""Explanations as JSON-able dictionaries."""

import json

import pytest
import torch

from hand_built import relevance
from lrp_hooks import Explanation
from lrp_hooks.render.record import records


def test_one_record_for_each_example():
    found = relevance(tokens=[list("abcde"), list("fgh")], meta={"labels": {1: "yes"}})
    first, second = json.loads(json.dumps(records(*found.view().views)))
    assert first["tokens"] == list("abcde")
    assert second["tokens"] == list("fgh")
    assert second["scores"] == found.scores[1, :3].tolist()
    assert first["target"] == "yes"
    ledger = first["ledger"]
    kinds = ("tokens", "positions", "biases", "softmax")
    assert sum(ledger[kind] for kind in kinds) == pytest.approx(ledger["total"])
    assert sum(ledger["sources"].values()) == pytest.approx(
        ledger["total"] - ledger["tokens"]
    )


def test_images_are_rows():
    scores = torch.arange(6.0).reshape(1, 2, 3)
    (record,) = records(*Explanation(scores=scores, output=torch.ones(1)).view().views)
    assert record["scores"] == scores[0].tolist()
    assert "tokens" not in record
    assert "ledger" not in record


def test_several_tensors_by_name():
    scores = {"a": torch.ones(1, 2), "b": torch.ones(1, 2, 2)}
    (record,) = records(*Explanation(scores=scores, output=torch.ones(1)).view().views)
    assert record["scores"] == {"a": [1.0, 1.0], "b": [[1.0, 1.0], [1.0, 1.0]]}
