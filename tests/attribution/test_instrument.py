"""Identity and removal: an instrumented model computes the same, and is given back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lrp_hooks import ArgumentError, Instrumentation, instrument
from lrp_hooks.engine.stack import active_scope
from small_models import MODELS, encoder, logits, make, state
from strategies import build, noise, reseed, seeds, specs, tokens

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SETS = ("conservative", "attnlrp", "cp-lrp", "ah+ln", "gradient")


def run(model, inputs, grad=True, autocast=False):
    """Call a model with one state of the random numbers."""
    with (
        torch.random.fork_rng(),
        torch.set_grad_enabled(grad),
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
    ):
        reseed(7)
        return logits(model(**inputs))


def gradients(model, inputs):
    model.zero_grad()
    run(model, inputs).float().square().sum().backward()
    found = [p.grad for p in model.parameters()]
    model.zero_grad()
    return [None if grad is None else grad.clone() for grad in found]


def equal(first, second):
    return all(
        a is b is None or torch.equal(a, b) for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("trainable", [False, True], ids=["frozen", "trainable"])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_outputs_are_bit_identical(name, dtype, training, trainable):
    model, inputs = make(name, dtype)
    model.train(training).requires_grad_(trainable)
    modes = [{"grad": True}, {"grad": False}]
    if dtype == torch.float32:
        modes += [{**mode, "autocast": True} for mode in modes]
    plain = [run(model, inputs, **mode) for mode in modes]
    with instrument(model):
        hooked = [run(model, inputs, **mode) for mode in modes]
    for mode, found, expected in zip(modes, hooked, plain, strict=True):
        assert torch.equal(found, expected), mode


@pytest.mark.parametrize("rules", SETS[1:])
@pytest.mark.parametrize("name", MODELS)
def test_no_rule_set_moves_an_output(name, rules):
    model, inputs = make(name)
    plain = run(model, inputs)
    with instrument(model, rules):
        assert torch.equal(run(model, inputs), plain)


@pytest.mark.parametrize("name", ["encoder", "encoder inside"])
def test_the_fused_kernel_of_the_encoder_stays(name, monkeypatch):
    model, inputs = make(name)
    calls = []
    fused = torch._transformer_encoder_layer_fwd
    monkeypatch.setattr(
        torch, "_transformer_encoder_layer_fwd", lambda *a: calls.append(1) or fused(*a)
    )
    run(model, inputs, grad=False)
    plain = len(calls)
    with instrument(model):
        run(model, inputs, grad=False)
    assert plain == 2
    assert len(calls) == 2 * plain


@pytest.mark.parametrize("grad", [True, False])
def test_a_padded_encoder_is_bit_identical(grad):
    reseed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=True).eval()
    hidden = torch.tensor([[False] * 4, [False, False, True, True]])
    inputs = {
        "src": noise(2, 4, 8, dtype=torch.float32),
        "src_key_padding_mask": hidden,
    }
    plain = run(model, inputs, grad)
    with instrument(model):
        assert torch.equal(run(model, inputs, grad), plain)


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_removal_restores_everything(name, trainable):
    model, inputs = make(name)
    model.train().requires_grad_(trainable)
    next(model.parameters()).requires_grad_(not trainable)
    before, output = state(model), run(model, inputs)
    plain = gradients(model, inputs) if trainable else []
    before = state(model)
    lrp = instrument(model)
    run(model, inputs)
    lrp.attribute(inputs, target=lambda out: logits(out).flatten(1)[:, 0])
    lrp.remove()
    lrp.remove()
    assert state(model) == before
    assert torch.equal(run(model, inputs), output)
    if trainable:
        assert equal(gradients(model, inputs), plain)


def test_rules_hold_from_the_call_on_and_the_with_only_removes():
    model, x = build(), noise(2, 3, 8).requires_grad_()

    def pulled():
        return torch.autograd.grad(model(inputs_embeds=x)[:, 0].sum(), x)[0]

    plain = pulled()
    lrp = instrument(model)
    active = pulled()
    with lrp as entered:
        assert entered is lrp
        assert torch.equal(pulled(), active)
    assert not torch.allclose(active, plain)
    assert torch.equal(pulled(), plain)
    with pytest.raises(ArgumentError, match=r"remove\(\)"):
        lrp.attribute(tokens(1, 2))
    with instrument(model) as again:
        assert isinstance(again, Instrumentation)
        assert torch.equal(pulled(), active)


class Interrupted(nn.Module):
    """Passes its input on, until it is told to raise."""

    error = None

    def forward(self, x):
        if self.error is not None:
            raise self.error
        return x * 2


ERRORS = (ValueError("broken"), KeyboardInterrupt("stop"), SystemExit(3))


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("how", ["attribute", "forward"])
@pytest.mark.parametrize("inside", ["sequence", "encoder"])
def test_an_exception_in_forward_leaves_nothing_open(error, how, inside):
    bad = Interrupted()
    body = nn.Sequential(nn.Linear(8, 8), bad)
    if inside == "encoder":
        body = encoder()
        body.layers[0].dropout1 = bad
    model, x = nn.Sequential(nn.LayerNorm(8), body), noise(1, 2, 8, dtype=torch.float32)
    other, leaf = build(), noise(1, 2, 8).requires_grad_()

    def pulled():
        return torch.autograd.grad(other(inputs_embeds=leaf).sum(), leaf)[0]

    plain, before, good = pulled(), state(model), model(x)
    with instrument(model) as lrp:
        bad.error = error
        with pytest.raises(type(error)):
            lrp.attribute(x) if how == "attribute" else model(x)
        bad.error = None
        assert active_scope() is None
        assert torch.equal(pulled(), plain)
        assert torch.equal(model(x), good)
        sums = lrp.attribute(x, target=lambda out: out.flatten(1).sum(1)).ledger
        assert (sums.error < 1e-5).all()
        bad.error = error
        with pytest.raises(type(error)):
            model(x)
    del bad.error
    assert state(model) == before
    assert torch.equal(pulled(), plain)


def test_an_exception_in_the_with_block_removes():
    model = build()
    before = state(model)
    with pytest.raises(KeyboardInterrupt), instrument(model):
        raise KeyboardInterrupt
    assert state(model) == before


@given(specs(), seeds, st.permutations(range(3)))
def test_models_are_removed_in_any_order(spec, seed, order):
    models = [build(spec, seed + i) for i in range(3)]
    before = [state(model) for model in models]
    ids = tokens(2, 3, seed)
    plain = [gradients(model, {"input_ids": ids}) for model in models]
    runs = [instrument(model) for model in models]
    for i in order:
        runs[i].attribute(ids)
        runs[i].remove()
        assert state(models[i]) == before[i]
        assert equal(gradients(models[i], {"input_ids": ids}), plain[i])
