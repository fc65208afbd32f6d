"""Blocks that run again in the backward pass: the same numbers, less memory."""

import gc

import pytest
import torch
from torch import nn
from transformers import StaticCache

from benchmarks.circuits.cost import peak
from circuit_models import build
from lrp_hooks import ArgumentError, UnsupportedModelError, explain, instrument

FAMILIES = ["gpt2", "llama", "gemma3", "bert", "vit", "t5", "mixtral", "encoder"]


def attributed(model, inputs, **options):
    with instrument(model, options.pop("rules", "conservative")) as lrp:
        return lrp.attribute(inputs, **options)


@pytest.mark.parametrize("rules", ["conservative", "attnlrp", "gradient"])
@pytest.mark.parametrize("family", FAMILIES)
def test_numbers_are_the_same(family, rules):
    model, inputs = build(family)
    plain = attributed(model, inputs, rules=rules)
    low = attributed(model, inputs, rules=rules, low_memory=True)
    assert torch.equal(low.ledger.output, plain.ledger.output)
    assert torch.allclose(low.scores, plain.scores, rtol=0, atol=1e-12)
    assert low.ledger.sources.keys() == plain.ledger.sources.keys()
    for name, values in plain.ledger.sources.items():
        assert torch.allclose(low.ledger.sources[name], values, rtol=0, atol=1e-12)


def test_the_model_and_its_hooks_are_left_as_they_were():
    model, inputs = build("llama")
    before = [dict(module.__dict__) for module in model.modules()]
    with instrument(model) as lrp:
        first = lrp.attribute(inputs, low_memory=True)
        second = lrp.attribute(inputs)
        assert torch.equal(first.scores, second.scores)
    after = [module.__dict__ for module in model.modules()]
    assert all(b.keys() == a.keys() for b, a in zip(before, after, strict=True))


def test_memory_does_not_grow_with_the_number_of_blocks():
    def deep(blocks):
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(32, 4, 128, batch_first=True)
        return nn.TransformerEncoder(layer, blocks, enable_nested_tensor=False).eval()

    x = torch.randn(1, 256, 32)

    models = [deep(2), deep(10)]

    def held(model, low_memory):
        return peak(lambda: attributed(model, x, target=first, low_memory=low_memory))

    def grown(low_memory):
        few, many = (held(model, low_memory) for model in models)
        return many - few

    inputs = 8 * x.numel() * x.element_size()  # of as many blocks
    low, plain = grown(True), grown(False)
    assert low < 1.5 * inputs, low / inputs
    assert plain > 5 * inputs, plain / inputs


def first(output):
    return output[:, 0, 0]


def tensors_alive():
    gc.collect()
    return sum(isinstance(each, torch.Tensor) for each in gc.get_objects())


@pytest.mark.parametrize("family", ["llama", "gemma3", "t5", "bert"])
def test_nothing_is_left_of_a_call(family):
    model, inputs = build(family)
    with instrument(model) as lrp:
        lrp.attribute(inputs, low_memory=True)
        before = tensors_alive()
        for _ in range(3):
            lrp.attribute(inputs, low_memory=True)
        assert tensors_alive() == before


def test_a_cache_that_is_written_in_place_is_refused():
    model, inputs = build("llama")
    cache = StaticCache(config=model.config, max_cache_len=32)
    given = {**inputs, "past_key_values": cache, "use_cache": True}
    with pytest.raises(UnsupportedModelError, match="wrote into a tensor of its cache"):
        attributed(model, given, low_memory=True)


def test_explain_takes_it():
    model, inputs = build("bert")
    low = explain(model, inputs, low_memory=True)
    assert torch.allclose(low.scores, explain(model, inputs).scores, atol=1e-12)


def test_what_cannot_be_is_refused():
    model, inputs = build("bert")
    with pytest.raises(ArgumentError, match="low_memory=True keeps nothing of"):
        attributed(model, inputs, layers="blocks", low_memory=True)
    plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(UnsupportedModelError, match="no list of modules"):
        attributed(plain, torch.randn(1, 4), low_memory=True)
