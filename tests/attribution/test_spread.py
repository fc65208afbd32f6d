"""Models that are spread or wrapped: what needs one process, and two ranks in short."""

from types import SimpleNamespace

import pytest
import torch

import ranks
from lrp_hooks import UnsupportedModelError, instrument
from ranks import assert_same, explained, net, numbers, on_ranks


def test_two_tensor_parallel_ranks(tmp_path):
    names = ["tensor parallel"]
    found = on_ranks(tmp_path, explained, names, ["attnlrp"], torch.float32)
    right = numbers(net(torch.float32), "attnlrp")
    for rank in (rank["tensor parallel", "attnlrp"] for rank in found):
        assert_same(rank, right, rtol=1e-5, atol=1e-6)
        assert rank["said"] == []


def test_stages_of_a_pipeline_are_refused():
    model = net()
    model._pp_stage = SimpleNamespace(pp_size=2)
    with pytest.raises(UnsupportedModelError, match="2 ranks of a pipeline"):
        instrument(model)


def test_one_stage_is_a_whole_model():
    model = net()
    model._pp_stage = SimpleNamespace(pp_size=1)
    right = numbers(net(), "conservative")
    assert_same(numbers(model, "conservative"), right)


def test_wrappers_are_not_in_names():
    wrapped = torch.nn.DataParallel(net())
    with instrument(wrapped) as lrp:
        found = lrp.attribute(ranks.ids(), 1, layers="blocks.0")
    assert not [n for n in found.ledger.sources if n.startswith("module.")]
    assert list(found.layers) == ["blocks.0"]
