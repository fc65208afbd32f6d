"""Models spread over ranks: every rank has the numbers of the model in one piece."""

from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

import ranks
from lrp_hooks import UnsupportedModelError, instrument
from ranks import SPREAD, explained, net, numbers, on_ranks, refused

RULES = ("conservative", "attnlrp", "cp-lrp")


@pytest.fixture(scope="module")
def spread(tmp_path_factory):
    return on_ranks(tmp_path_factory.mktemp("ranks"), explained, list(SPREAD), RULES)


@pytest.fixture(scope="module")
def plain():
    return {rules: numbers(net(), rules) for rules in RULES}


def assert_same(found, right, **close):
    kept = {k: v for k, v in found.items() if k not in {"error", "said", "removed"}}
    assert kept.keys() <= right.keys()
    for key, value in kept.items():
        assert_close(value, right[key], msg=lambda m, key=key: f"{key}: {m}", **close)
    assert found["removed"]


def of_both(spread, name, rules):
    return [rank[name, rules] for rank in spread]


@pytest.mark.slow
@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("name", SPREAD)
def test_every_rank_has_the_numbers_of_the_whole_model(spread, plain, name, rules):
    for found in of_both(spread, name, rules):
        assert_same(found, plain[rules], rtol=1e-10, atol=1e-12)
        assert (found["error"] < 1e-10).all()
        assert found["said"] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", SPREAD)
def test_outputs_are_those_of_the_plain_model(spread, name):
    assert all(of_both(spread, name, "same"))


def test_two_tensor_parallel_ranks(tmp_path):
    names = ["tensor parallel"]
    found = on_ranks(tmp_path, explained, names, ["attnlrp"], torch.float32)
    right = numbers(net(torch.float32), "attnlrp")
    for rank in of_both(found, *names, "attnlrp"):
        assert_same(rank, right, rtol=1e-5, atol=1e-6)
        assert rank["said"] == []


@pytest.mark.slow
def test_flat_parameters_are_refused(tmp_path):
    for rank in on_ranks(tmp_path, refused):
        (said,) = rank["flat"]
        assert "fully_shard" in said


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
