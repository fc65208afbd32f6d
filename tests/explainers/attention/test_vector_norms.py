"""Methods of one layer's vectors: published values, definitions, and brute force."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import lrp_hooks
from decompx_models import (
    Encoder,
    batch,
    fresh,
    made,
    published,
    published_batch,
    rows,
    tiny,
)
from folders import arrays
from lrp_hooks import ArgumentError, LrpHooksError
from lrp_hooks.explainers import Alti, AttentionNorms, DecompX, GlobEnc, ValueZeroing
from small_models import convolution
from strategies import noise

METHODS = (AttentionNorms, GlobEnc, Alti, ValueZeroing)
every_method = pytest.mark.parametrize("method", METHODS)
near = partial(assert_close, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["globenc", "globenc_ffn"])
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_the_published_globenc(name, kernel):
    explainer = GlobEnc(published(kernel), include_ffn=name == "globenc_ffn")
    found = explainer(published_batch(), 0)
    open_ = published_batch()["attention_mask"].bool()
    joint, layers = (
        arrays("decompx/globenc")[f"{name}/{key}"] for key in ("joint", "layers")
    )
    assert_close(found.layers[:, open_], layers, rtol=1e-9, atol=1e-15)
    assert_close(found.joint[open_], joint[-1], rtol=1e-9, atol=1e-15)
    assert_close(found.scores, found.joint[:, 0])
    products = [found.layers[0]]
    for layer in found.layers[1:]:
        products.append(layer @ products[-1])
    assert_close(torch.stack(products)[:, open_], joint, rtol=1e-9, atol=1e-15)
    assert (found.scores[1, 7:] == 0).all()


def alone(inputs, row):
    """Return one example without padding."""
    length = int(inputs["attention_mask"][row].sum())
    return {key: value[row : row + 1, :length] for key, value in inputs.items()}


def linear(layer, x, bias=True):
    return F.linear(x, layer.weight, layer.bias if bias else None)


@torch.no_grad()
def from_definitions(row):
    """Return each layer's f(x_j) weighed by attention, [n, n, D], and its layer norms.

    One head and one pair of tokens at a time, from the model's own attention weights.
    """
    model, inputs = tiny("Bert", "eager"), alone(batch(), row)
    out = model(**inputs, output_attentions=True, output_hidden_states=True)
    found = []
    for number, layer in enumerate(model.bert.encoder.layer):
        x, weights = out.hidden_states[number][0], out.attentions[number][0]
        n, width = x.shape
        value, dense = layer.attention.self.value, layer.attention.output.dense
        size = width // len(weights)
        vectors = torch.zeros(n, n, width).double()
        for i in range(n):
            for j in range(n):
                for head, alpha in enumerate(weights):
                    own = slice(head * size, (head + 1) * size)
                    v = x[j] @ value.weight[own].T + value.bias[own]
                    vectors[i, j] += alpha[i, j] * (dense.weight[:, own] @ v)
        middle = x + vectors.sum(1) + dense.bias
        found.append((x, vectors, middle, layer))
    return found


def frozen(norm, vectors, true):
    """Return the LayerNorm of row i's vectors, its deviation frozen, without bias."""
    deviation = (true.var(-1, correction=0) + norm.eps).sqrt()
    centred = vectors - vectors.mean(-1, keepdim=True)
    return centred / deviation[:, None, None] * norm.weight


def with_self(x, vectors):
    return vectors + torch.eye(len(x))[:, :, None] * x[:, None]


def norms(x, vectors, middle, layer, kind):
    if kind == "attention":
        return vectors.norm(dim=-1)
    if kind == "residual":
        return with_self(x, vectors).norm(dim=-1)
    norm = layer.attention.output.LayerNorm
    return frozen(norm, with_self(x, vectors), middle).norm(dim=-1)


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["attention", "residual", "norm"])
@pytest.mark.parametrize("row", [0, 1])
def test_attention_norms(kind, row, kernel):
    right = torch.stack([norms(*parts, kind) for parts in from_definitions(row)])
    n = right.shape[-1]
    explainer = partial(AttentionNorms, tiny("Bert", kernel), kind)
    found = explainer()(batch(), 1)
    near(found.layers[:, row, :n, :n], right)
    near(found.joint[row, :n, :n], right[-1])
    near(found.scores[row, :n], right[-1, 0])
    mean = explainer(layers="mean")(batch(), 1)
    near(mean.scores[row, :n], right.mean(0)[0])
    rolled = explainer(layers="rollout")(batch(), 1)
    first, second = right / right.sum(-1, keepdim=True)
    near(rolled.joint[row, :n, :n], second @ first)
    near(rolled.scores.sum(1), torch.ones(2).double())


@pytest.mark.parametrize("row", [0, 1])
def test_globenc_without_the_feed_forward_network(row):
    right = []
    for x, vectors, middle, layer in from_definitions(row):
        first = layer.attention.output.LayerNorm
        inner = frozen(first, with_self(x, vectors), middle)
        y = first(middle)
        branch = layer.output.dense(F.gelu(layer.intermediate.dense(y)))
        second = frozen(layer.output.LayerNorm, inner, y + branch)
        right.append(second.norm(dim=-1).detach())
    n = len(right[0])
    found = GlobEnc(tiny("Bert"))(batch(), 1)
    near(found.layers[:, row, :n, :n], torch.stack(right))
    near(found.joint[row, :n, :n], right[1] @ right[0])
    near(found.scores[row, :n], (right[1] @ right[0])[0])


@pytest.mark.parametrize("row", [0, 1])
def test_globenc_with_the_feed_forward_network(row):
    right = []
    for x, vectors, middle, layer in from_definitions(row):
        first, up = layer.attention.output.LayerNorm, layer.intermediate.dense
        inner = frozen(first, with_self(x, vectors), middle)
        y = first(middle)
        h = up(y)
        slope = (F.gelu(h) / h)[:, None]
        whole = y + layer.output.dense(F.gelu(h))
        branch = linear(
            layer.output.dense, slope * linear(up, inner, bias=False), bias=False
        )
        second = frozen(layer.output.LayerNorm, inner + branch, whole)
        right.append(second.norm(dim=-1).detach())
    n = len(right[0])
    found = GlobEnc(tiny("Bert"), include_ffn=True)(batch(), 1)
    near(found.layers[:, row, :n, :n], torch.stack(right))


@pytest.mark.parametrize("row", [0, 1])
def test_alti(row):
    right = []
    for x, vectors, middle, layer in from_definitions(row):
        norm = layer.attention.output.LayerNorm
        parts, y = frozen(norm, with_self(x, vectors), middle), norm(middle)
        n = len(x)
        shares = torch.zeros(n, n).double()
        for i in range(n):
            for j in range(n):
                distance = (y[i] - parts[i, j]).abs().sum()
                shares[i, j] = (y[i].abs().sum() - distance).clamp(min=0).detach()
        right.append(shares / shares.sum(1, keepdim=True))
    found = Alti(tiny("Bert"))(batch(), 1)
    near(found.layers[:, row, :n, :n], torch.stack(right))
    near(found.joint[row, :n, :n], right[1] @ right[0])
    near(found.scores[row, :n], (right[1] @ right[0])[0])
    near(found.scores.sum(1), torch.ones(2).double())
    assert (found.layers == 0).any()  # some are clipped


def value_layer(layer):
    """Return the linear layer that makes a block's values."""
    names = ("value", "v_lin", "v_proj")
    (found,) = [
        module
        for name, module in layer.named_modules()
        if name.rsplit(".")[-1] in names and isinstance(module, nn.Linear)
    ]
    return found


def blocks(model):
    (found,) = [
        module
        for module in model.modules()
        if isinstance(module, nn.ModuleList) and len(module) == 2
    ]
    return found


def output_of(layer, x):
    out = layer(x)
    return out if isinstance(out, torch.Tensor) else out[0]


@torch.no_grad()
def zeroed(model, inputs):
    """Run each layer again for each token whose value is zero, by a hook."""
    states = []
    handles = [
        layer.register_forward_pre_hook(
            lambda _, args, kwargs: states.append([*args, *kwargs.values()][0]),
            with_kwargs=True,
        )
        for layer in blocks(model)
    ]
    model(**inputs)
    for handle in handles:
        handle.remove()
    found = []
    for x, layer in zip(states, blocks(model), strict=True):
        n = x.shape[1]
        plain, distances = output_of(layer, x)[0], torch.zeros(n, n).double()
        for token in range(n):

            def without(module, args, values, token=token):
                values = values.clone()
                values[:, token] = 0
                return values

            handle = value_layer(layer).register_forward_hook(without)
            changed = output_of(layer, x)[0]
            handle.remove()
            distances[:, token] = 1 - F.cosine_similarity(plain, changed, dim=-1)
        found.append(distances / distances.sum(1, keepdim=True))
    return found


@pytest.mark.parametrize("family", ["Bert", "DistilBert", "ViT"])
@pytest.mark.parametrize("row", [0, 1])
def test_value_zeroing_by_brute_force(family, row):
    inputs = batch(family)
    one = rows(inputs, slice(row, row + 1))
    if "attention_mask" in inputs:
        one = {"input_ids": alone(inputs, row)["input_ids"]}
    first, second = zeroed(tiny(family, "sdpa"), one)
    n = len(first)
    found = ValueZeroing(tiny(family, "sdpa"))(inputs, 1)
    assert_close(found.layers[0, row, :n, :n], first, rtol=1e-7, atol=1e-10)
    assert_close(found.layers[1, row, :n, :n], second, rtol=1e-7, atol=1e-10)
    assert_close(found.joint[row, :n, :n], second @ first, rtol=1e-7, atol=1e-10)
    assert_close(found.scores[row, :n], (second @ first)[0], rtol=1e-7, atol=1e-10)
    near(found.scores.sum(1), torch.ones(2).double())


@every_method
def test_padding_has_nothing_and_changes_nothing(method):
    found = method(tiny("Bert"))(batch(), 1)
    assert (found.scores[1, 4:] == 0).all()
    assert (found.layers[:, 1, 4:] == 0).all()
    assert (found.layers[:, 1, :, 4:] == 0).all()
    assert (found.scores >= 0).all()
    assert torch.equal(found.attended, batch()["attention_mask"].bool())
    single = method(tiny("Bert"))(alone(batch(), 1), 1)
    near(found.scores[1, :4], single.scores[0])
    unmasked = method(tiny("Bert"))({"input_ids": batch()["input_ids"][:1]}, 1)
    near(found.scores[0], unmasked.scores[0])
    assert unmasked.attended is None


@every_method
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_output_is_bit_identical_and_the_model_untouched(method, kernel, dtype):
    model, inputs = fresh("Bert", kernel, dtype).train(), batch()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    found = method(model)(inputs)
    assert all(module.training for module in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    with torch.no_grad():
        logits = model.eval()(**inputs).logits
    assert torch.equal(found.output, logits.amax(1))
    assert torch.equal(found.target, logits.argmax(1))
    for value in (found.scores, found.output, found.layers, found.joint):
        assert not value.requires_grad
        assert value.dtype == dtype


@every_method
def test_no_class_is_explained(method):
    first, second = (method(tiny("Bert"))(batch(), target) for target in (0, 1))
    assert torch.equal(first.scores, second.scores)
    near(first.output, tiny("Bert")(**batch()).logits[:, 0])
    with pytest.raises(ArgumentError, match="3"):
        method(tiny("Bert"))(batch(), 3)


class Averages(Encoder):
    """An encoder whose head takes the mean of all tokens."""

    def forward(self, input_ids):
        return self.head(self.encode(input_ids, None).mean(1))


@every_method
def test_a_head_that_averages_reads_the_mean_row(method):
    found = method(made(Averages))(batch()["input_ids"][:1], 1)
    near(found.scores, found.joint.mean(1))


@every_method
def test_images(method):
    found = method(tiny("ViT"))(batch("ViT"), 1)
    assert found.scores.shape == (2, 5)
    assert (found.scores > 0).any(1).all()
    near(found.scores, found.joint[:, 0])
    assert found.attended is None


def test_globenc_is_where_decompx_starts():
    found = GlobEnc(tiny("Bert"), include_ffn=True)(batch(), 1)
    explainer = DecompX(tiny("Bert"), "none", stages="encoder")
    near(found.layers[0], explainer(batch(), 1).layers["encoder"][0])


@every_method
def test_images_without_attention(method):
    with pytest.raises(LrpHooksError):
        method(convolution(torch.float64))(noise(2, 2, 4, 4), 0)


@every_method
@pytest.mark.parametrize("family", ["Bart", "GPT2", "Llama"])
def test_decoders(method, family):
    with pytest.raises(LrpHooksError):
        method(tiny(family))(batch(family), 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "value"}, r"kind='value'.*'attention', 'residual', 'norm'"),
        ({"layers": "first"}, r"layers='first'.*'last', 'mean', 'rollout'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ArgumentError, match=message):
        AttentionNorms(tiny("Bert"), **options)


@every_method
def test_by_name(method):
    names = {
        AttentionNorms: "attention_norms",
        GlobEnc: "globenc",
        Alti: "alti",
        ValueZeroing: "value_zeroing",
    }
    found = lrp_hooks.explain(tiny("Bert"), batch(), names[method], target=1)
    assert found.method == names[method]
    assert torch.equal(found.scores, method(tiny("Bert"))(batch(), 1).scores)
    if method is GlobEnc:
        again = lrp_hooks.explain(tiny("Bert"), batch(), "glob_enc", target=1)
        assert torch.equal(found.scores, again.scores)
