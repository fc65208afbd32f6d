"""Implicit attention: maps times values are the output; closed forms, brute force."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from lrp_hooks import AttentionMaps, UnsupportedModelError, explain
from lrp_hooks.attribution.attention_maps import record_maps
from mixing_models import (
    FAMILIES,
    KINDS,
    RECURRENCES,
    Doubles,
    Frozen,
    Mixes,
    mixing_batch,
    mixing_model,
)
from strategies import VOCABULARY, reseed


def found_in(family, **options):
    model = mixing_model(family, **options)
    with Doubles():
        return AttentionMaps.of(model, mixing_batch())


@pytest.mark.parametrize("family", FAMILIES)
def test_maps_times_values_are_the_output(family):
    maps = found_in(family)
    assert [m.kind for m in maps] == KINDS.get(family, ["implicit"] * 2)
    for one in maps:
        assert one.weights.shape[0] == 2
        assert one.weights.shape[2:] == (7, 7)
        assert one.weights.triu(1).abs().max() == 0
        if one.kind == "implicit":
            right = one.output
            assert right.abs().max() > 1e-4
            close = 1e-10 * float(right.abs().max())
            assert_close(one.weights @ one.values, right, rtol=0, atol=close)


@pytest.mark.parametrize("name", RECURRENCES)
@settings(max_examples=8)
@given(
    length=st.integers(2, 6),
    heads=st.sampled_from([1, 2, 4]),
    batch=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_closed_forms(name, length, heads, batch, seed):
    recur, closed = RECURRENCES[name]
    reseed(seed)
    model = Mixes(recur, width=8, heads=heads).double().eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    ids = torch.randint(VOCABULARY, (batch, length))
    given_to = []
    for layer in model.layers:
        layer.register_forward_pre_hook(lambda _, args: given_to.append(args[0]))
    model(ids)
    rights = []
    for layer, x in zip(model.layers, given_to, strict=True):
        q, k, v, a = (part.detach() for part in layer.parts(x))
        rights.append((closed(q, k, a), v))
    maps = AttentionMaps.of(model, ids)
    assert [m.module for m in maps] == ["layers.0", "layers.1"]
    for one, (weights, values) in zip(maps, rights, strict=True):
        assert one.weights.shape == weights.shape
        assert_close(one.weights, weights, rtol=1e-9, atol=1e-10)
        assert_close(one.values, values)
        assert_close(one.weights @ one.values, one.output, rtol=0, atol=1e-10)


# Family, the mixing layer, what projects the values, what takes what they are mixed to.
LAYERS = {
    "Mamba": ("backbone.layers.0.mixer", "in_proj", "out_proj"),
    "Mamba2": ("backbone.layers.0.mixer", "in_proj", "out_proj"),
    "RecurrentGemma": ("model.layers.0.temporal_block", "linear_x", "linear_out"),
    "Rwkv": ("rwkv.blocks.1.attention", "value", "output"),
    "Qwen3Next": ("model.layers.0.linear_attn", "in_proj_qkvz", "out_proj"),
}


@pytest.mark.parametrize("family", LAYERS)
@pytest.mark.parametrize("biases", [False, True])
def test_brute_force_jacobians(family, biases):
    """All gates replayed, the layer's own forward is differentiated by torch."""
    name, source, sink = LAYERS[family]
    model, inputs = mixing_model(family, biases=biases), mixing_batch()
    mixer = model.get_submodule(name)
    kept, output = replayed(model, inputs, mixer, mixer.get_submodule(sink))
    start = mixer.get_submodule(source)
    whole = output(None).detach()
    value = kept[start]

    def of(v):
        kept[start] = v
        return output(v)

    right = torch.autograd.functional.jacobian(of, value)
    assert_close(of(value), whole, rtol=0, atol=1e-12)
    (one,) = (m for m in found_in(family, biases=biases) if m.module == name)
    by_channel = one.output.transpose(1, 2).flatten(2)
    assert_close(by_channel, whole, rtol=0, atol=1e-12)
    size = whole.shape[2]
    for e, v in enumerate(one.values.transpose(1, 2).flatten(2).unbind(2)):
        same = [torch.equal(each, v) for each in value.unbind(2)]
        c = same.index(True)
        for b in range(len(value)):
            weights = one.weights[b, e * one.weights.shape[1] // size]
            assert_close(weights, right[b, :, e, b, :, c], rtol=1e-8, atol=1e-12)
            assert right[b, :, (e + 1) % size, b, :, c].abs().max() < 1e-12


def replayed(model, inputs, mixer, end):
    """Return what every linear layer returned, and the layer's output given those."""
    given_to, kept, ends, frozen = [], {}, [], Frozen()

    def note(_, args, kwargs):
        given_to.append((args, kwargs))

    with mixer.register_forward_pre_hook(note, with_kwargs=True):
        with Doubles(), torch.no_grad():
            model(**inputs)
    end.register_forward_pre_hook(lambda _, args: ends.append(args[0]))
    for module in mixer.modules():
        if isinstance(module, nn.Linear) and module is not end:
            module.register_forward_hook(lambda m, _, y: kept.setdefault(m, y.detach()))

    def output(v):
        with Doubles(), frozen if v is None else frozen.again():
            mixer(*given_to[0][0], **given_to[0][1])
        return ends[-1]

    return kept, output


def test_hybrids_have_every_layer():
    maps = found_in("RecurrentGemma")
    assert [m.module for m in maps] == [
        f"model.layers.{n}.temporal_block" for n in range(3)
    ]
    assert "(implicit)" in repr(maps).splitlines()[1]
    assert "(implicit)" not in repr(maps).splitlines()[3]
    assert maps.fixed == ()
    shifts = found_in("Rwkv").fixed
    assert "rwkv.blocks.0.feed_forward.receptance" in shifts


@pytest.mark.parametrize("family", ["Mamba", "Jamba", "RecurrentGemma", "Rwkv"])
def test_a_gradient_of_the_output_for_each_weight(family):
    """dy/dM[t, s] = <dy/dout[t], v[s]>, with dy/dout of the plain model."""
    model, inputs = mixing_model(family), mixing_batch()
    recorded = record_maps(model, inputs, live=True)
    scalar = recorded.output.logits[:, -1, 5]
    handles = [m.handle for m in recorded.maps]
    found = torch.autograd.grad(scalar.sum(), handles)
    for one, grad in zip(recorded.maps, found, strict=True):
        if hasattr(one, "mixer"):
            seen = one.seen(2)
            taken = []
            sink = model.get_submodule(one.mixer.sink.module)
            handle = sink.register_forward_pre_hook(
                lambda _, a, t=taken: t.append(a[0])
            )
            plain = model(**inputs).logits[:, -1, 5]
            handle.remove()
            (right,) = torch.autograd.grad(plain.sum(), taken)
            right = right.unflatten(2, (seen.values.shape[1], -1)).transpose(1, 2)
            expected = torch.einsum("bhtd,bhsd->bhts", right, seen.values)
            assert_close(one.gradient(grad, seen), expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("family", ["Mamba", "RecurrentGemma", "Rwkv", "xLSTM"])
def test_explainers_read_them(family):
    model, inputs = mixing_model(family), mixing_batch(5)
    maps = AttentionMaps.of(model, inputs)
    layers = torch.stack([m.weights.abs().mean(1) for m in maps])
    # RWKV's feed-forward layers take the token before, too.
    rows = [-1] if family != "Rwkv" else [-2, -1]
    last = explain(model, inputs, "attention_last", target=3)
    assert_close(last.scores, layers[-1][:, rows].mean(1))
    one = layers + torch.eye(5)
    one /= one.sum(-1, keepdim=True)
    joint = one[0]
    for layer in one[1:]:
        joint = layer @ joint
    rolled = explain(model, inputs, "attention_rollout", target=3)
    assert_close(rolled.scores, joint[:, rows].mean(1))
    assert rolled.layers.shape == (len(maps), 2, 5, 5)
    flow = explain(model, inputs, "attention_flow", target=3).scores
    assert (flow >= 0).all()
    assert_close(flow.sum(1), torch.ones(2).double())
    gae = explain(model, inputs, "generic_attention", target=3)
    assert (gae.scores >= 0).all()
    assert gae.scores.shape == (2, 5)


@pytest.mark.parametrize(
    "method",
    ["gradient_x_input", "integrated_gradients", "saliency", "attention_rollout"],
)
def test_a_state_that_is_overwritten_is_told(method):
    model, inputs = mixing_model("Rwkv"), mixing_batch(5)
    inputs = inputs if isinstance(inputs, dict) else {"input_ids": inputs}
    wanted = explain(model, {**inputs, "use_cache": False}, method, target=3)
    with pytest.raises(UnsupportedModelError, match="Pass use_cache=False beside"):
        explain(model, {**inputs, "use_cache": True}, method, target=3)
    model.config.use_cache = False
    found = explain(model, inputs, method, target=3)
    assert torch.equal(found.scores, wanted.scores)


def test_a_mean_over_heads():
    model, inputs = mixing_model("Jamba"), mixing_batch()
    each = AttentionMaps.of(model, inputs)
    mean = AttentionMaps.of(model, inputs, heads="mean")
    assert [m.kind for m in mean] == [m.kind for m in each]
    for one, other in zip(mean, each, strict=True):
        assert_close(one.weights, other.weights.mean(1, keepdim=True))
    assert mean.weights.shape == (2, 2, 1, 7, 7)
    with pytest.raises(ValueError, match="heads='all'.*'mean'"):
        AttentionMaps.of(model, inputs, heads="all")


class Rolls(nn.Module):
    """A recurrence with a table between its states."""

    def __init__(self):
        super().__init__()
        self.table = nn.ParameterList([torch.randn(4, 4)])

    def forward(self, x):
        return x + x.roll(1, 1) @ self.table[0]


class Across(nn.Module):
    """Mixes tokens and channels together."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, 4)
        pair = nn.Sequential(nn.Linear(4, 4), Rolls(), nn.Linear(4, 4))
        self.blocks = nn.ModuleList([pair])

    def get_input_embeddings(self):
        return self.words

    def forward(self, input_ids):
        return self.blocks[0](self.words(input_ids))[:, -1]


def test_a_layer_that_mixes_otherwise_is_named():
    reseed(0)
    with pytest.raises(UnsupportedModelError, match=r"blocks\.0\.2 .*'lrp'"):
        AttentionMaps.of(Across().double().eval(), torch.tensor([[1, 2, 3, 4]]))


def test_the_model_is_left_as_it_was():
    model, inputs = mixing_model("Mamba").train(), mixing_batch()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    record_maps(model, inputs, live=True)
    assert all(module.training for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    found = record_maps(model, inputs, live=True).output.logits
    assert torch.equal(found, model.eval()(**inputs).logits)
