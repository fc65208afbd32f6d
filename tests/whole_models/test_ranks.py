"""Models spread over ranks: every rank has the numbers of the model in one piece."""

import os
from pathlib import Path

import pytest
import torch
from lrp_hooks.rules import Attention, Epsilon, Gamma

import ranks
from generation_models import SHARED_SIZES, language_model, word_tokenizer
from lrp_hooks import RuleSet
from ranks import (
    SPREAD,
    assert_same,
    explained,
    explained_from,
    language_models,
    net,
    numbers,
    on_ranks,
    read,
    refused,
)

RULES = ("conservative", "attnlrp", "cp-lrp")


@pytest.fixture(scope="module")
def spread(tmp_path_factory):
    return on_ranks(tmp_path_factory.mktemp("ranks"), explained, list(SPREAD), RULES)


@pytest.fixture(scope="module")
def plain():
    return {rules: numbers(net(), rules) for rules in RULES}


def of_both(spread, name, rules):
    return [rank[name, rules] for rank in spread]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("name", SPREAD)
def test_every_rank_has_the_numbers_of_the_whole_model(spread, plain, name, rules):
    for found in of_both(spread, name, rules):
        assert_same(found, plain[rules], rtol=1e-10, atol=1e-12)
        assert (found["error"] < 1e-10).all()
        assert found["said"] == []


@pytest.mark.parametrize("name", SPREAD)
def test_outputs_are_those_of_the_plain_model(spread, name):
    assert all(of_both(spread, name, "same"))


OWN = {
    "gamma": {"linear": Gamma(0.25)},
    "epsilon": {"linear": Epsilon(0.01)},
    "in between": {"attention": Attention(query_key_share=0.25)},
}


def test_other_rules_read_where_a_value_is_spread(tmp_path):
    base = RuleSet.named("conservative")
    rules = {key: base.override(**own) for key, own in OWN.items()}
    rules["ah+ln"] = RuleSet.named("ah+ln")
    names, read = ["tensor parallel", "sequence parallel"], "blocks.0.up"
    for rank in on_ranks(tmp_path, explained_from, names, rules, read):
        for (_, key), found in rank.items():
            right = numbers(net(), rules[key], read, ("blocks.1.up",))
            assert_same(found, right, rtol=1e-10, atol=1e-12)
            assert found["said"] == right["said"]


def test_flat_parameters_are_refused(tmp_path):
    for rank in on_ranks(tmp_path, refused):
        (said,) = rank["flat"]
        assert "fully_shard" in said


WAYS = ("fully sharded", "planned")
SHAPES = {
    "Llama": {"attention_bias": True, "mlp_bias": True},
    "Qwen2": {"tie_word_embeddings": True},
    "Qwen3": {"head_dim": 4},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_language_models_of_transformers(shape, tmp_path):
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    sizes = {**SHARED_SIZES, **heads, "hidden_size": 16, **SHAPES[shape]}
    language_model(shape, **sizes).save_pretrained(tmp_path / "model")
    given = (tmp_path / "model", word_tokenizer(), "the capital of France is")
    whole = ranks.language_model(given[0], torch.float64)
    found = on_ranks(
        tmp_path,
        language_models,
        *given,
        ("conservative", "attnlrp"),
        WAYS,
        torch.float64,
    )
    for rank in found:
        for (_, rules), spread in rank.items():
            right = read(whole, *given[1:], rules)
            assert_same(spread, right, rtol=1e-9, atol=1e-11)
            assert (spread["error"] < 1e-10).all()
            assert spread["said"] == right["said"]


SMOLLM2 = os.environ.get("LRP_HOOKS_SMOLLM2", "")


@pytest.mark.skipif(
    not SMOLLM2, reason="LRP_HOOKS_SMOLLM2 names no folder of the model"
)
@pytest.mark.parametrize(
    ("way", "count"), [("fully sharded", 2), ("halves", 2), ("planned", 3)]
)
def test_a_real_language_model(way, count, tmp_path):
    from transformers import AutoTokenizer  # noqa: PLC0415  # takes seconds

    prompt = "Alice put the key in the red box. Bob asked where it was. It was in the"
    given = (AutoTokenizer.from_pretrained(SMOLLM2), prompt)
    whole = read(ranks.language_model(SMOLLM2), *given, "conservative")
    found = on_ranks(
        *(tmp_path, language_models, Path(SMOLLM2), *given),
        *(["conservative"], [way], torch.float32),
        count=count,  # its nine heads are no two halves
    )
    for rank in found:
        (spread,) = rank.values()
        for key in ("scores", "matrix"):
            gap = (spread[key] - whole[key]).abs().max() / whole[key].abs().max()
            print(f"{way}: {key} differ by {gap:.1e} of the largest")
            assert gap < 1e-5
        assert torch.equal(spread["target"], whole["target"])
        assert spread["error"].max() < 1e-5
        print(f"{way}: ledger error {spread['error'].max():.1e}")
