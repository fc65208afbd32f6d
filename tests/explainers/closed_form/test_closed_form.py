"""Closed forms against autograd, enumeration and golden values.

Lopardo, Precioso and Garreau, "Attention Meets Post-hoc Interpretability: A
Mathematical Perspective", ICML 2024; arrays in ``data/attention_posthoc/README.md``.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from closed_forms import (
    ALL,
    IDS,
    document,
    drawn,
    exact,
    published,
    published_ids,
    spelled_out,
    stored,
    tailored,
)
from lrp_hooks import ArgumentError, NonFiniteError, TextError, instrument
from lrp_hooks.explainers import closed_form
from lrp_hooks.explainers.closed_form import AttentionClassifier
from strategies import seeds

# --- The classifier ---


def test_the_published_logits():
    logits = published()(published_ids()[None])
    assert_close(logits, torch.tensor(stored("classifier")["logits"]))
    positions = torch.tensor(stored("classifier")["pe"])
    assert_close(published().positions, positions, rtol=0, atol=1e-6)


def test_the_network_is_the_papers():
    model = drawn()
    x = model.embedding(IDS) + model.positions
    assert_close(model(IDS[None])[0], spelled_out(model, x))
    batch = torch.stack([IDS, IDS.flip(0)])
    assert model(batch).shape == (2, 2)
    assert_close(model(batch)[:1], model(IDS[None]))


def test_defaults_and_an_odd_width():
    model = AttentionClassifier(50)
    assert (len(model.heads), model.max_length) == (6, 256)
    assert model.embedding.weight.shape == (50, 128)
    assert model.heads[0].value.weight.shape == (64, 128)
    assert "positions" in dict(model.named_buffers())
    assert "positions" not in model.state_dict()
    assert AttentionClassifier(5, embed_dim=7).positions.shape == (256, 7)
    assert {name.split(".", 2)[-1] for name in model.state_dict()} == {
        "embedding.weight".split(".", 2)[-1],
        *(f"{part}.weight" for part in ("query", "key", "value", "classifier")),
    }


def test_the_word_table_is_called_once_a_forward():
    model, calls = drawn(), []
    assert isinstance(model.embedding, nn.Embedding)
    model.embedding.register_forward_hook(lambda *_: calls.append(1))
    model(IDS[None])
    assert len(calls) == 1


@pytest.mark.parametrize("rules", ["conservative", "cp-lrp", "attnlrp", "gradient"])
def test_it_can_be_instrumented(rules):
    model = drawn()
    plain = model(IDS[None])
    with instrument(model, rules, strict=True) as lrp:
        assert torch.equal(model(IDS[None]), plain)
        relevance = lrp.attribute(IDS[None], target=1)
        # Closed forms are those of the model, whatever rules are laid over it.
        assert closed_form.verify_closed_forms(model, IDS).holds
    assert relevance.scores.shape == (1, 12)
    assert "positions" in relevance.ledger.sources
    if rules != "gradient":
        assert relevance.ledger.error.item() < 1e-12


# --- Golden values ---

GOLDEN = {
    "attention_avg": partial(closed_form.attention, heads="mean"),
    "attention_max": partial(closed_form.attention, heads="max"),
    "gradient_mean": partial(closed_form.gradient, kind="mean"),
    "gradient_l1": partial(closed_form.gradient, kind="l1"),
    "gradient_l2": partial(closed_form.gradient, kind="l2"),
    "gradient_xInput": partial(closed_form.gradient, kind="input"),
    "lime_eq19": closed_form.lime_approximation,
    "lime_limit_nu25": closed_form.lime_limit,
    "lime_limit_nuinf": partial(closed_form.lime_limit, kernel_width=math.inf),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", GOLDEN)
def test_published_values(name, dtype):
    scores = GOLDEN[name](published(dtype), published_ids())
    assert scores.dtype == dtype
    found = dict(zip(published_ids().tolist(), scores.tolist(), strict=True))
    data = stored("classifier")
    for word, value in data[name].items():
        assert found[data["vocab"].index(word)] == pytest.approx(value, abs=1e-6)


def test_the_lime_package_agrees_when_it_replaces_words_in_place():
    scores = closed_form.lime_limit(published(), published_ids())
    data = stored("classifier")
    pairs = [
        (scores[published_ids() == data["vocab"].index(word)].item(), value)
        for word, value in data["lime_pkg_bowFalse_n5000_mean"].items()
    ]
    ours, theirs = np.array(pairs).T
    assert np.linalg.norm(ours - theirs) < 0.01 * np.linalg.norm(ours)


@pytest.mark.parametrize("name", stored("regimes"))
def test_forty_words(name):
    regime = stored("regimes")[name]
    model, ids = tailored(regime["heads"])
    for width, key in ((25.0, "width25"), (math.inf, "widthinf")):
        found = closed_form.lime_limit(model, ids, kernel_width=width)[1:]
        wanted = exact(regime[f"beta_exact_{key}"])
        assert_close(found, wanted, rtol=0, atol=1e-6 * wanted.abs().max().item())
    found = closed_form.lime_approximation(model, ids, factor=1.0)[1:]
    wanted = exact(regime["bracket"])
    assert_close(found, wanted, rtol=0, atol=1e-12)


# --- Autograd ---


@given(seed=seeds, n_heads=st.integers(1, 4), width=st.integers(1, 9))
def test_gradients_are_autograds(seed, n_heads, width):
    model = drawn(seed, n_heads, width, scale=1.0)
    ids = document(seed, 6, model.max_length)
    x = (model.embedding(ids) + model.positions).detach()

    def logit(x):
        return spelled_out(model, x)[1]

    grads = torch.autograd.functional.jacobian(logit, x)
    wanted = {
        "mean": grads.mean(1),
        "l1": grads.abs().sum(1),
        "l2": grads.pow(2).sum(1).sqrt(),
        "input": (grads * x).sum(1),
    }
    for kind, scores in wanted.items():
        found = closed_form.gradient(model, ids, kind=kind)
        assert_close(found, scores, rtol=0, atol=1e-10 * (1 + grads.abs().max().item()))


@given(seed=seeds, n_heads=st.integers(1, 4))
def test_attention_is_what_values_are_mixed_by(seed, n_heads):
    """A head whose values are units per position writes its weights into the logit."""
    model = drawn(seed, n_heads)
    x = (model.embedding(IDS) + model.positions).detach()
    rows = []
    for head in model.heads:
        scores = (x @ head.key.weight.T) @ (head.query.weight @ x[0])
        rows.append((scores / 2).softmax(0))  # sqrt(4), the width of keys
    rows = torch.stack(rows).detach()
    assert_close(closed_form.attention(model, IDS), rows.mean(0))
    assert_close(closed_form.attention(model, IDS, heads="max"), rows.amax(0))


# --- What a call leaves alone ---


@pytest.mark.parametrize("name", ALL)
def test_no_model_call_no_graph_no_global_state(name):
    model = drawn(dtype=torch.float32)
    model.forward = None
    state = torch.get_rng_state()
    scores = ALL[name](model, IDS)
    assert torch.equal(torch.get_rng_state(), state)
    assert (scores.shape, scores.dtype) == ((12,), torch.float32)
    assert not scores.requires_grad
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())
    with torch.no_grad():
        for dtype in (torch.int32, torch.int16, torch.uint8):
            assert torch.equal(ALL[name](model, IDS.to(dtype)), scores)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert torch.equal(ALL[name](model, IDS.clone()), scores)
    frozen = model.requires_grad_(False)
    assert torch.equal(ALL[name](frozen, IDS), scores)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ALL)
def test_half_precision(name, dtype):
    model = drawn(dtype=dtype)
    scores = ALL[name](model, IDS)
    assert scores.dtype == dtype
    assert torch.equal(scores, ALL[name](model.double(), IDS).to(dtype))


# --- Bad input ---

BAD_IDS = {
    "a list": ([0, 2], "list.*torch.tensor"),
    "floats": (torch.zeros(12), "torch.float32.*integer"),
    "booleans": (torch.zeros(12, dtype=torch.bool), "torch.bool.*integer"),
    "a batch": (IDS[None], r"\[1, 12\].*12 ids.*one row"),
    "too short": (IDS[:5], r"\[5\].*12 ids.*padded with 1"),
    "too long": (torch.cat([IDS, IDS]), r"\[24\].*12 ids"),
    "no id": (IDS - 1, "-1.*from 0 to 11"),
    "not in the vocabulary": (IDS + 8 * (IDS > 6), "15.*from 0 to 11"),
    "no class token": (IDS.roll(1), "start with 1;.*class token, 0"),
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("case", BAD_IDS)
def test_bad_ids(name, case):
    ids, message = BAD_IDS[case]
    with pytest.raises(ArgumentError, match=f"^ids .*{message}"):
        ALL[name](drawn(), ids)


@pytest.mark.parametrize("name", ALL)
def test_other_models(name):
    with pytest.raises(ArgumentError, match=r"model is a Linear.*AttentionClassifier"):
        ALL[name](nn.Linear(2, 2), IDS)


@pytest.mark.parametrize("name", ALL)
def test_broken_weights(name):
    model = drawn()
    model.heads[0].value.weight.data[0, 0] = math.nan
    with pytest.raises(NonFiniteError, match=r"^model .*isfinite"):
        ALL[name](model, IDS)


@pytest.mark.parametrize("name", ["lime_limit", "lime_approximation"])
def test_no_word(name):
    ids = torch.ones(12, dtype=torch.int64)
    ids[0] = 0
    with pytest.raises(TextError, match="ids hold no word"):
        ALL[name](drawn(), ids)
    assert closed_form.attention(drawn(), ids).sum().item() == pytest.approx(1)


@pytest.mark.parametrize("value", ["sum", None, ["mean"], 3])
def test_unknown_options(value):
    with pytest.raises(ArgumentError, match="heads=.*'mean', 'max'"):
        closed_form.attention(drawn(), IDS, heads=value)
    with pytest.raises(ArgumentError, match="kind=.*'mean', 'l1', 'l2', 'input'"):
        closed_form.gradient(drawn(), IDS, kind=value)


@pytest.mark.parametrize("value", [0, -1.0, math.nan, "25", None, True])
def test_widths_and_factors_are_positive(value):
    with pytest.raises(ArgumentError, match="kernel_width=.*above 0"):
        closed_form.lime_limit(drawn(), IDS, kernel_width=value)
    with pytest.raises(ArgumentError, match="factor=.*above 0"):
        closed_form.lime_approximation(drawn(), IDS, factor=value)


def test_a_kernel_that_sees_one_size_only():
    with pytest.raises(ArgumentError, match=r"kernel_width=1e-06 .*wider"):
        closed_form.lime_limit(drawn(), IDS, kernel_width=1e-6)


@pytest.mark.parametrize("name", ["vocab_size", "n_heads", "embed_dim", "max_length"])
@pytest.mark.parametrize("value", [0, -3, 2.5, "8", True])
def test_sizes(name, value):
    with pytest.raises(ArgumentError, match=f"{name}=.* whole number from [12] on"):
        AttentionClassifier(**{"vocab_size": 5, name: value})


@pytest.mark.parametrize("shape", [(12,), (1, 13), (1, 0), (1, 1, 12)])
def test_bad_batches(shape):
    with pytest.raises(ArgumentError, match=r"ids have shape .*\[B, T\]"):
        drawn()(torch.zeros(shape, dtype=torch.int64))
