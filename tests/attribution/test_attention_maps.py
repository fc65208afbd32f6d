"""Attention maps: those of every implementation equal the eager model's own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import lrp_hooks
from ali_models import authors
from attention_models import eager_maps, seq2seq, seq2seq_batch
from decompx_models import TorchEncoder, batch, fresh, made, tiny
from folders import arrays
from lrp_hooks import AttentionMaps, LrpHooksError, UnsupportedModelError, instrument
from lrp_hooks.attribution.attention_maps import attention_weights, record_maps
from oracles import random
from small_models import convolution, hugging_face
from strategies import noise


def assert_maps(found, right, inputs, atol=1e-12, key_mask=True):
    assert len(found) == len(right)
    for one, truth in zip(found, right, strict=True):
        assert one.weights.shape == truth.shape
        assert not one.weights.requires_grad
        assert_close(one.weights, truth.to(one.weights.dtype), rtol=0, atol=atol)
        assert_close(one.weights.sum(-1), torch.ones_like(one.weights[..., 0]))
    mask = inputs.get("attention_mask")
    for one in found if mask is not None and key_mask else ():
        if one.weights.shape[-1] == mask.shape[1]:
            hidden = (mask == 0)[:, None, None].expand_as(one.weights)
            assert (one.weights[hidden] == 0).all()


# Eager models of some families take the softmax in single precision.
FAMILIES = {
    "Bert": 1e-12,
    "GPT2": 1e-6,
    "Llama": 1e-6,
    "ViT": 1e-6,
    "DistilBert": 1e-12,
    "Roberta": 1e-12,
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_maps_are_those_of_the_eager_model(family, kernel):
    inputs = batch(family)
    found = AttentionMaps.of(tiny(family, kernel), inputs)
    right = eager_maps(tiny(family, "eager"), inputs)
    assert_maps(found, right, inputs, FAMILIES[family])
    assert found.weights.shape == (len(right), *right[0].shape)
    assert torch.equal(found.weights[1], found[1].weights)


@pytest.mark.parametrize("family", ["Bert", "GPT2", "Llama"])
def test_left_padding(family):
    inputs = batch(family, padding="left")
    # In double precision eager models have NaN where a query sees no key.
    eager, fused = (tiny(family, k, torch.float32) for k in ("eager", "sdpa"))
    found = AttentionMaps.of(fused, inputs)
    open_ = inputs["attention_mask"].bool()
    for one, right in zip(found, eager_maps(eager, inputs), strict=True):
        rows = open_[:, None].expand_as(right[..., 0])
        assert_close(one.weights[rows], right[rows], rtol=0, atol=2e-6)
        assert (one.weights[1, :, 2:, :2] == 0).all()
    assert torch.equal(found.attended, open_)


def test_grouped_queries_have_a_map_a_query_head():
    assert tiny("Llama").config.num_key_value_heads == 1
    for kernel in ("eager", "sdpa"):
        found = AttentionMaps.of(tiny("Llama", kernel), batch("Llama"))
        assert found.weights.shape == (2, 2, 2, 6, 6)
        assert found.weights.triu(1).abs().max() == 0


@pytest.mark.parametrize("family", ["T5", "Bart"])
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_encoder_decoders(family, kernel):
    inputs = seq2seq_batch()
    found = AttentionMaps.of(seq2seq(family, kernel), inputs)
    right = eager_maps(seq2seq(family), inputs)
    assert {tuple(one.shape[2:]) for one in right} == {(6, 6), (4, 4), (4, 6)}
    assert_maps(found, right, inputs, 1e-6)
    with pytest.raises(UnsupportedModelError, match=r"maps\[0\].weights"):
        found.weights  # noqa: B018 (it is a property)


@pytest.mark.parametrize("batch_first", [True, False])
def test_the_encoder_of_torch(batch_first):
    model, inputs = made(TorchEncoder, batch_first), batch()
    hidden = inputs["attention_mask"] == 0
    right, x = [], model.words(inputs["input_ids"])
    for layer in model.encoder.layers:
        turned = x if batch_first else x.transpose(0, 1)
        settings = {"key_padding_mask": hidden, "average_attn_weights": False}
        right.append(layer.self_attn(turned, turned, turned, **settings)[1].detach())
        x = layer(turned, src_key_padding_mask=hidden)
        x = x if batch_first else x.transpose(0, 1)
    assert_maps(AttentionMaps.of(model, inputs), right, inputs)
    with torch.no_grad():
        assert_maps(AttentionMaps.of(model, inputs), right, inputs)


class Weighs(nn.Module):
    """Attention that gives its weights away, which torch computes otherwise."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, average_attn_weights=False)


def test_torch_attention_that_returns_its_weights():
    model, x = made(Weighs), random(3, 5, 8)
    (found,) = record_maps(model, x, live=False).maps
    right = model(x)[1].detach()
    assert_close(found.weights.view(3, 2, 5, 5), right)


def test_maps_of_torch_attention_that_returns_its_weights_have_heads():
    (found,) = AttentionMaps.of(made(Weighs), random(3, 5, 8))
    assert found.weights.shape == (3, 2, 5, 5)


def test_the_published_model():
    found = AttentionMaps.of(authors("f64"), arrays("ali/golden")["input_ids"])
    right = arrays("ali/baselines")["attention_probs"]
    assert (found.weights[:, 0] - right).abs().max() <= 1e-12
    assert found.attended is None


@pytest.mark.parametrize("target", range(3))
def test_the_published_gradient_through_live_maps(target):
    recorded = record_maps(authors("f64"), arrays("ali/golden")["input_ids"], live=True)
    maps = [one.weights for one in recorded.maps]
    found = torch.autograd.grad(recorded.output[0, target], maps)
    right = arrays("ali/baselines")[f"attn_grad_class{target}"]
    assert (torch.cat(found) - right).abs().max() <= 1e-9


@pytest.mark.parametrize("family", ["Bert", "GPT2", "Llama", "ViT"])
@pytest.mark.parametrize("trainable", [True, False])
def test_live_maps_have_the_eager_gradient(family, trainable):
    inputs, eager = batch(family), tiny(family, "eager")
    out = eager(**inputs, output_attentions=True)
    right = torch.autograd.grad(out.logits[:, 1].sum(), out.attentions)
    model = fresh(family, "sdpa").requires_grad_(trainable)
    recorded = record_maps(model, inputs, live=True)
    maps = [one.weights for one in recorded.maps]
    found = torch.autograd.grad(recorded.output.logits[:, 1].sum(), maps)
    for one, truth in zip(found, right, strict=True):
        assert_close(one, truth, rtol=1e-4, atol=1e-6 * float(truth.abs().max()))


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_the_output_is_bit_identical_and_the_model_untouched(live, kernel):
    model, inputs = fresh("Bert", kernel, torch.float32).train(), batch()
    model.classifier.weight.requires_grad = False
    state = {name: value.clone() for name, value in model.state_dict().items()}
    needs = [p.requires_grad for p in model.parameters()]
    recorded = record_maps(model, inputs, live)
    assert all(module.training for module in model.modules())
    assert [p.requires_grad for p in model.parameters()] == needs
    assert all(p.grad is None for p in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert torch.equal(recorded.output.logits, model.eval()(**inputs).logits)


def test_a_plain_call_under_no_grad():
    with torch.no_grad():
        found = AttentionMaps.of(tiny("Bert", "sdpa"), batch())
        assert not torch.is_grad_enabled()
    assert_maps(found, eager_maps(tiny("Bert", "eager"), batch()), batch())


def test_the_object():
    found = AttentionMaps.of(tiny("Bert"), batch())
    assert lrp_hooks.AttentionMaps is AttentionMaps
    assert [one.module for one in found] == [
        f"bert.encoder.layer.{number}.attention.self" for number in range(2)
    ]
    assert torch.equal(found.attended, batch()["attention_mask"].bool())
    heading, *lines = repr(found).splitlines()
    assert heading == "AttentionMaps: 2 of [B, H, Q, K]"
    assert lines[1].split(maxsplit=1)[0] == "1"
    assert "[2, 2, 6, 6]" in lines[1]
    assert lines[1].endswith("bert.encoder.layer.1.attention.self")


@pytest.mark.parametrize("live", [True, False])
def test_no_attention(live):
    with pytest.raises(UnsupportedModelError, match=r"no attention was found.*'lrp'"):
        record_maps(convolution(torch.float64), noise(2, 2, 4, 4), live)


class Classifies(nn.Module):
    """A softmax that mixes nothing."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(x).softmax(-1)


def test_a_softmax_of_classes_is_no_attention():
    with pytest.raises(UnsupportedModelError):
        AttentionMaps.of(made(Classifies), random(3, 4))


def test_an_instrumented_model():
    model = fresh("Bert")
    with instrument(model), pytest.raises(lrp_hooks.AlreadyInstrumentedError):
        AttentionMaps.of(model, batch())
    assert len(AttentionMaps.of(model, batch())) == 2


def test_a_failing_model_is_left_clean():
    model = fresh("Bert")

    def fail(*_):
        raise ZeroDivisionError

    handle = model.classifier.register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        AttentionMaps.of(model, batch())
    handle.remove()
    assert len(AttentionMaps.of(model, batch())) == 2


def test_inference_mode():
    with torch.inference_mode(), pytest.raises(LrpHooksError, match="no_grad"):
        AttentionMaps.of(tiny("Bert"), batch())


def test_half_precision():
    model = hugging_face("bert", torch.bfloat16)
    ids = torch.tensor([[3, 1, 2]])
    found = AttentionMaps.of(model, ids)
    assert found.weights.dtype == torch.bfloat16
    assert (found.weights.sum(-1) - 1).abs().max() < 0.02


SDPA = {
    "plain": {},
    "causal": {"is_causal": True},
    "scaled": {"scale": 0.3},
    "boolean mask": {"attn_mask": torch.tensor([[[[True, True, False, True]]]])},
    "added mask": {"attn_mask": random(3, 4)},
    "dropout": {"dropout_p": 0.0},
}


@pytest.mark.parametrize("name", SDPA)
@pytest.mark.parametrize("shared", [False, True])
def test_weights_inside_of_the_fused_kernel(name, shared):
    options = dict(SDPA[name])
    query, key, value = (random(2, 4, n, 5, seed=n) for n in (3, 4, 6))
    value = value[:, :, :4]
    if shared:
        key, value, options["enable_gqa"] = key[:, :2], value[:, :2], True
    weights = attention_weights(query, key, **options)
    groups = 2 if shared else 1
    found = weights @ value.repeat_interleave(groups, 1)
    assert_close(found, F.scaled_dot_product_attention(query, key, value, **options))
    if name == "plain" and not shared:
        assert_close(weights, (query @ key.mT / math.sqrt(5)).softmax(-1))


def test_a_query_that_sees_no_key():
    mask = torch.tensor([[True, False], [False, False]])
    found = attention_weights(random(2, 3), random(2, 3, seed=1), mask)
    assert torch.equal(found, torch.tensor([[1.0, 0.0], [0.0, 0.0]]).double())
