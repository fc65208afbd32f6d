"""Explanations by attention: published values, and the equations written out."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import lrp_hooks
from ali_models import authors
from attention_models import eager_maps, seq2seq, seq2seq_batch
from decompx_models import TorchEncoder, batch, fresh, made, rows, tiny
from folders import arrays
from lrp_hooks import (
    ArgumentError,
    AttentionMaps,
    Contrast,
    LrpHooksError,
    UnsupportedModelError,
)
from lrp_hooks.explainers import (
    AttentionFlow,
    AttentionLast,
    AttentionRollout,
    GenericAttention,
)
from oracles import randomised
from small_models import convolution
from strategies import noise

METHODS = (AttentionLast, AttentionRollout, AttentionFlow, GenericAttention)
every_method = pytest.mark.parametrize("method", METHODS)
near = partial(assert_close, rtol=1e-9, atol=1e-12)


def published(method, target=0, **options):
    return method(authors("f64"), **options)(arrays("ali/golden")["input_ids"], target)


def far(found, name):
    right = arrays("ali/baselines")[name]
    assert found.shape == right.shape
    return float((found - right).abs().max())


def test_the_published_last_layer():
    found = published(AttentionLast, query="sum")
    assert far(found.scores[0], "a_last") <= 1e-9


def test_the_published_rollout():
    found = published(AttentionRollout)
    assert far(found.scores[0], "rollout_2_clsrow") <= 1e-9
    summed = published(AttentionRollout, query="sum")
    assert far(summed.scores[0], "rollout_2_colsum") <= 1e-9
    layers = found.layers[:, 0]
    joint = [layers[0], layers[1] @ layers[0], layers[2] @ layers[1] @ layers[0]]
    assert far(torch.stack(joint), "rollout_joint") <= 1e-9
    assert_close(found.joint[0], joint[-1])


@pytest.mark.parametrize("layer", range(3))
def test_the_published_flow(layer):
    explainer = AttentionFlow(authors("f64"), query="sum")
    found = explainer(arrays("ali/golden")["input_ids"], 0)
    everywhere = torch.ones(1, 10, dtype=torch.bool)
    joint = explainer.joint(found.layers[: layer + 1], everywhere)
    assert far(joint[0].sum(0), f"attention_flow_{layer}") <= 1e-9
    if layer == 2:
        assert far(found.scores[0], "attention_flow_2") <= 1e-9


@pytest.mark.parametrize("target", range(3))
def test_the_published_gae(target):
    found = published(GenericAttention, target)
    assert far(found.scores[0], f"GAE_imdb_raw_class{target}") <= 1e-9
    logit = arrays("ali/golden")["f64/GI/logits"].flatten()[target]
    assert abs(float(found.output) - float(logit)) <= 1e-12


def explained(model, inputs, method, target=1, **options):
    return method(model, **options)(inputs, target)


def mean_maps(inputs):
    """Return the eager maps of BERT, [L, B, H, T, T]."""
    return torch.stack(eager_maps(tiny("Bert", "eager"), inputs)).numpy()


KERNELS = pytest.mark.parametrize("kernel", ["eager", "sdpa"])


@KERNELS
def test_the_last_layer(kernel):
    maps, model = mean_maps(batch()), tiny("Bert", kernel)
    mean, largest = maps[-1].mean(1), maps[-1].max(1)
    near(explained(model, batch(), AttentionLast).scores.numpy(), mean[:, 0])
    found = explained(model, batch(), AttentionLast, heads="max")
    near(found.scores.numpy(), largest[:, 0])
    near(found.joint.numpy(), largest)
    found = explained(model, batch(), AttentionLast, query="sum")
    near(found.scores[0].numpy(), mean[0].sum(0))
    near(found.scores[1].numpy(), mean[1, :4].sum(0))  # padding asks nothing


@KERNELS
@pytest.mark.parametrize("residual", [True, False])
def test_rollout(kernel, residual):
    layers = mean_maps(batch()).mean(2) + residual * np.eye(6)
    layers /= layers.sum(-1, keepdims=True)
    joint = np.einsum("bij,bjk->bik", layers[1], layers[0])
    model = tiny("Bert", kernel)
    found = explained(model, batch(), AttentionRollout, residual=residual)
    near(found.layers.numpy(), layers)
    near(found.joint.numpy(), joint)
    near(found.scores.numpy(), joint[:, 0])
    near(found.scores.sum(1), torch.ones(2).double())
    found = explained(model, batch(), AttentionRollout, residual=residual, query="sum")
    near(found.scores[1].numpy(), joint[1, :4].sum(0))


def live_eager(model, inputs, choose):
    """Return eager maps and the gradients of a scalar for them."""
    out = model(**inputs, output_attentions=True)
    names = ("encoder_attentions", "decoder_attentions", "cross_attentions")
    groups = [out.get(name) for name in names]
    groups = groups if groups[0] is not None else [out.attentions]
    chosen = choose(out)
    return chosen, [
        [
            (a.detach(), torch.autograd.grad(chosen.sum(), a, retain_graph=True)[0])
            for a in group
        ]
        for group in groups
    ]


def bar(pair):
    """Eq. 5: the mean over heads of the positive part of gradient times attention."""
    attention, gradient = pair
    return (gradient * attention).clamp(min=0).mean(1)


def hat(relevance):
    """Eq. 8 and 9: R - I, its rows divided by their sums (padding has none), plus I."""
    eye = torch.eye(relevance.shape[-1]).to(relevance)
    rest = relevance - eye
    return (rest / rest.sum(-1, keepdim=True)).nan_to_num() + eye


@KERNELS
@pytest.mark.parametrize("family", ["Bert", "GPT2", "ViT"])
def test_gae(family, kernel):
    inputs = batch(family)
    eager = tiny(family, "eager")
    chosen, (own,) = live_eager(eager, inputs, lambda out: out.logits[:, 2])
    relevance = torch.eye(own[0][0].shape[-1]).repeat(2, 1, 1).to(chosen)
    for pair in own:
        relevance += bar(pair) @ relevance
    taken = torch.zeros(2, dtype=torch.long)
    if family == "GPT2":
        taken = inputs["attention_mask"].sum(1) - 1
    found = explained(tiny(family, kernel), inputs, GenericAttention, 2)
    loose = partial(assert_close, rtol=1e-4, atol=1e-6)  # softmax in single precision
    (near if family == "Bert" else loose)(found.joint, relevance)
    right = relevance[torch.arange(2), taken]
    (near if family == "Bert" else loose)(found.scores, right)


def gae_across(model, inputs, choose):
    """Chefer et al. 2021, eq. 5 to 11, for an encoder and a decoder."""
    chosen, (encoder, decoder, cross) = live_eager(model, inputs, choose)
    batch_size, length = inputs["input_ids"].shape
    n_out = inputs["decoder_input_ids"].shape[1]
    r_ii = torch.eye(length).repeat(batch_size, 1, 1).to(chosen)
    for pair in encoder:
        r_ii += bar(pair) @ r_ii  # eq. 6
    r_tt = torch.eye(n_out).repeat(batch_size, 1, 1).to(chosen)
    r_ti = torch.zeros(batch_size, n_out, length).to(chosen)
    for own, other in zip(decoder, cross, strict=True):
        r_ti += bar(own) @ r_ti  # eq. 7
        r_tt += bar(own) @ r_tt  # eq. 6
        r_ti += hat(r_tt).mT @ bar(other) @ hat(r_ii)  # eq. 10
    return chosen.detach(), r_ii, r_ti


@KERNELS
@pytest.mark.parametrize("family", ["T5", "Bart"])
def test_gae_of_encoder_decoders(family, kernel):
    inputs, model = seq2seq_batch(), seq2seq(family, kernel)

    def choose(out):
        return out.logits[:, -1, 5] - out.logits[:, -1, 6]

    output, r_ii, r_ti = gae_across(seq2seq(family), inputs, choose)
    found = GenericAttention(model)(inputs, choose)
    loose = partial(assert_close, rtol=1e-5, atol=1e-7)
    loose(found.output, output)
    loose(found.joint, r_ti)
    loose(found.scores, r_ti[:, -1])
    assert found.scores.shape == (2, 6)
    assert (found.scores[1, 4:] == 0).all()
    assert (found.scores[0] > 0).all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "get_encoder", lambda: None)
        with pytest.raises(UnsupportedModelError, match="get_encoder"):
            GenericAttention(model)(inputs, choose)
    summed = GenericAttention(model, query="sum")(inputs, choose)
    loose(summed.scores, r_ti.sum(1))
    by_token = GenericAttention(model)(inputs, 5)
    with torch.no_grad():  # kernels are chosen by T5's trainable position bias
        assert torch.equal(by_token.output, model(**inputs).logits[:, -1, 5])


@pytest.mark.parametrize("method", METHODS[:3])
@pytest.mark.parametrize("family", ["T5", "Bart"])
def test_methods_of_self_attention_refuse_encoder_decoders(method, family):
    with pytest.raises(UnsupportedModelError) as caught:
        method(seq2seq(family))(seq2seq_batch(), 5)
    assert method.__name__ in str(caught.value)
    assert "'generic_attention'" in str(caught.value)


def test_gae_of_an_encoder_decoder_that_classifies():
    model, inputs = tiny("Bart"), batch("Bart")
    found = GenericAttention(model)(inputs, 1)
    with torch.no_grad():
        assert torch.equal(found.output, model(**inputs).logits[:, 1])
    assert found.scores.shape == (2, 6)
    assert (found.scores[1, 4:] == 0).all()
    assert (found.scores[1, :4] > 0).all()


@every_method
@KERNELS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_output_is_bit_identical_and_the_model_untouched(method, kernel, dtype):
    model, inputs = fresh("Bert", kernel, dtype).train(), batch()
    model.bert.embeddings.requires_grad_(False)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    needs = [p.requires_grad for p in model.parameters()]
    found = method(model)(inputs)
    assert all(module.training for module in model.modules())
    assert [p.requires_grad for p in model.parameters()] == needs
    assert all(p.grad is None for p in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    logits = model.eval()(**inputs).logits
    assert torch.equal(found.target, logits.argmax(1))
    assert torch.equal(found.output, logits.amax(1))
    for value in (found.scores, found.output, found.layers, found.joint):
        assert not value.requires_grad
        assert value.dtype == dtype


@every_method
def test_a_target_of_each_kind(method):
    model, logits = tiny("Bert"), tiny("Bert")(**batch()).logits
    found = method(model)(batch(), Contrast(0, 2))
    near(found.output, logits[:, 0] - logits[:, 2])
    found = method(model)(batch(), [1, 2])
    near(found.output, torch.stack([logits[0, 1], logits[1, 2]]))
    first = method(model)(rows(batch(), slice(0, 1)), 1)
    near(found.scores[:1], first.scores)
    with pytest.raises(ArgumentError, match="3"):
        method(model)(batch(), 3)


@every_method
def test_only_gae_is_class_specific(method):
    found = [method(tiny("Bert"))(batch(), target).scores for target in range(3)]
    same = torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert same == (method is not GenericAttention)
    assert (torch.stack(found) >= 0).all()


@every_method
def test_padding_has_nothing_and_changes_nothing(method):
    found = method(tiny("Bert"))(batch(), 1)
    assert (found.scores[1, 4:] == 0).all()
    assert (found.scores[1, :4] > 0).all()
    assert torch.equal(found.attended, batch()["attention_mask"].bool())
    assert found.layers.shape == (2, 2, 6, 6)
    short = {key: value[1:, :4] for key, value in batch().items()}
    alone = method(tiny("Bert"))(short, 1)
    near(found.scores[1, :4], alone.scores[0])
    near(found.joint[1, 0, :4], alone.joint[0, 0])
    summed = [
        method(tiny("Bert"), query="sum")(inputs, 1).scores
        for inputs in (batch(), short)
    ]
    near(summed[0][1, :4], summed[1][0])
    assert (summed[0][1, 4:] == 0).all()


@every_method
@pytest.mark.parametrize("padding", ["left", "right"])
def test_the_query_is_the_one_that_the_head_takes(method, padding):
    inputs = batch("GPT2", padding)
    found = method(tiny("GPT2"))(inputs, 1)
    places = torch.arange(6) * inputs["attention_mask"]
    last = found.joint[torch.arange(2), places.argmax(1)]
    near(found.scores, last)
    assert (found.scores[1][inputs["attention_mask"][1] == 0] == 0).all()


class Averages(TorchEncoder):
    """An encoder whose head takes the mean of all tokens."""

    def forward(self, input_ids):
        return self.head(self.encoder(self.norm(self.words(input_ids))).mean(1))


@pytest.mark.parametrize("method", METHODS)
def test_a_head_that_averages_reads_the_mean_of_all_queries(method):
    ids = batch()["input_ids"]
    found = method(made(Averages))(ids, 1)
    near(found.scores, found.joint.mean(1))
    assert found.attended is None


class Constant(TorchEncoder):
    """A head that is flat: it depends on no query."""

    def forward(self, input_ids):
        return super().forward(input_ids) * 0


def test_a_flat_output_reads_all_queries_alike():
    found = AttentionRollout(made(Constant))(batch()["input_ids"], 1)
    near(found.scores, found.joint.mean(1))


@every_method
def test_the_encoder_of_torch(method):
    inputs = batch()
    found = method(made(TorchEncoder))(inputs, 1)
    turned = method(made(TorchEncoder, False))(inputs, 1)
    near(found.scores, turned.scores)
    assert (found.scores[1, 4:] == 0).all()
    assert (found.scores[1, :4] > 0).all()


class Weighs(nn.Module):
    """Torch's attention by another path: its weights are asked for."""

    def __init__(self, asked):
        super().__init__()
        self.words = nn.Embedding(30, 8)
        self.layers = nn.ModuleList(
            nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2)
        )
        self.head = nn.Linear(8, 3)
        self.asked = asked

    def forward(self, ids):
        x = self.words(ids)
        for layer in self.layers:
            x = torch.add(x, layer(x, x, x, need_weights=self.asked)[0])
        return self.head(x[:, 0])


@every_method
def test_heads_folded_into_the_batch(method):
    ids = batch()["input_ids"]
    plain, asked = (randomised(Weighs(kind).double()) for kind in (False, True))
    near(method(asked)(ids, 1).scores, method(plain)(ids, 1).scores)


@every_method
def test_a_model_without_attention(method):
    with pytest.raises(UnsupportedModelError, match="no attention was found"):
        method(convolution(torch.float64))(noise(2, 2, 4, 4), 0)


class CutGraph(TorchEncoder):
    """A model that detaches what it has encoded."""

    def forward(self, input_ids):
        return self.head(self.encoder(self.words(input_ids)).detach()[:, 0])


@every_method
@pytest.mark.parametrize("target", [1, lambda out: torch.ones(2).double()])
def test_an_output_that_does_not_depend_on_attention(method, target):
    with pytest.raises(UnsupportedModelError, match="does not depend on the last"):
        method(made(CutGraph))(batch()["input_ids"], target)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (AttentionLast, {"heads": "median"}, r"heads='median'.*'mean', 'max'"),
        (AttentionLast, {"query": "cls"}, r"query='cls'.*'taken', 'sum'"),
        (AttentionRollout, {"query": None}, "query=None"),
        (GenericAttention, {"query": 0}, "query=0"),
        (AttentionFlow, {"query": "all"}, "query='all'"),
    ],
)
def test_bad_options(method, options, message):
    with pytest.raises(ArgumentError, match=message):
        method(tiny("Bert"), **options)


def test_flow_without_networkx(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "networkx", None)
    with pytest.raises(ArgumentError, match=r"networkx.*lrp_hooks\[flow\]"):
        AttentionFlow(tiny("Bert"))(batch(), 0)


@every_method
def test_inference_mode(method):
    with torch.inference_mode(), pytest.raises(LrpHooksError, match="no_grad"):
        method(tiny("Bert"))(batch(), 0)


@every_method
def test_a_caller_under_no_grad(method):
    right = method(tiny("Bert"))(batch(), 1)
    with torch.no_grad():
        found = method(tiny("Bert"))(batch(), 1)
    near(found.scores, right.scores)


@every_method
def test_a_frozen_model(method):
    right = method(tiny("Bert"))(batch(), 1)
    frozen = method(fresh("Bert").requires_grad_(False))(batch(), 1)
    near(frozen.scores, right.scores)


@every_method
def test_by_name(method):
    names = {
        AttentionLast: "attention_last",
        AttentionRollout: "attention_rollout",
        AttentionFlow: "attention_flow",
        GenericAttention: "generic_attention",
    }
    found = lrp_hooks.explain(tiny("Bert"), batch(), names[method], query="sum")
    assert found.method == names[method]
    right = method(tiny("Bert"), query="sum")(batch())
    assert torch.equal(found.scores, right.scores)


def test_an_explanation_survives_a_file(tmp_path):
    found = AttentionRollout(tiny("Bert"))(batch(), 1)
    found.save(tmp_path / "rollout.safetensors")
    again = lrp_hooks.Explanation.load(tmp_path / "rollout.safetensors")
    assert torch.equal(again.joint, found.joint)
    assert torch.equal(again.layers, found.layers)


def test_what_is_read_is_what_the_maps_say():
    found = AttentionLast(tiny("Bert"))(batch(), 1)
    maps = AttentionMaps.of(tiny("Bert"), batch())
    near(found.joint, maps[-1].weights.mean(1))
