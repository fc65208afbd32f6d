"""LIME in the limit: the fit to all masks, peaked attention, many words."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from closed_forms import ALL, IDS, document, drawn, exact, tailored
from lrp_hooks.explainers import closed_form
from lrp_hooks.explainers.closed_form import AttentionClassifier
from strategies import seeds


def enumerated(model, ids, width):
    """LIME's normal equations over all masks, in NumPy.

    The law is LIME's: a number s of removed words, uniform from 1 to d; then a uniform
    subset of that size; weight sqrt(exp(-D^2 / width^2)), D = 100 (1 - cosine).
    """
    words = sorted(set(ids.tolist()) - {0, 1})
    d = len(words)
    masks = np.array(list(itertools.product([0, 1], repeat=d)))
    documents = torch.stack([
        torch.tensor([1 if i in gone else i for i in ids.tolist()])
        for gone in ({w for w, z in zip(words, m, strict=True) if not z} for m in masks)
    ])
    with torch.no_grad():
        logits = model(documents)[:, 1].numpy()
    kept = masks.sum(1)
    law = np.array([0 if m == d else 1 / (d * math.comb(d, m)) for m in kept])
    distance = 100 * (1 - np.sqrt(kept / d))
    weights = law * np.sqrt(np.exp(-(distance**2) / width**2))
    weights /= weights.sum()
    centred = masks - weights @ masks
    matrix = centred.T @ (weights[:, None] * centred)
    side = centred.T @ (weights * (logits - weights @ logits))
    slopes = dict(zip(words, np.linalg.solve(matrix, side), strict=True))
    return torch.tensor([slopes.get(i, 0.0) for i in ids.tolist()]).double()


def assert_limit(model, ids, width=25.0, tolerance=1e-6):
    found = closed_form.lime_limit(model, ids, kernel_width=width)
    wanted = enumerated(model, ids, width)
    # A difference of logits is known no better than the logits themselves.
    rounding = 16 * torch.finfo(torch.float64).eps * model(ids[None]).abs().max().item()
    bound = tolerance * wanted.abs().max().item() + rounding
    assert_close(found, wanted, rtol=0, atol=bound)


def test_coefficients_far_below_the_logits():
    """Logits of 80, coefficients of 5e-11: what is left is rounding."""
    assert_limit(drawn(38, 1, length=14, scale=2.0), document(38, 2, 14))


@given(
    seed=seeds,
    words=st.integers(2, 10),
    n_heads=st.integers(1, 3),
    scale=st.sampled_from([0.1, 0.5, 1.0, 2.0]),
    width=st.sampled_from([25.0, 100, math.inf]),
)
def test_the_limit_is_the_fit_to_all_masks(seed, words, n_heads, scale, width):
    model = drawn(seed, n_heads, length=14, scale=scale)
    assert_limit(model, document(seed, words, 14), width)


ratios = st.floats(-300, 300)


@given(
    data=st.data(),
    words=st.integers(2, 6),
    seed=seeds,
)
def test_peaked_attention(data, words, seed):
    """Scores far beyond what exp() can hold."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, 2, words + 1, generator=generator)
    model, ids = tailored([
        {"N0": 1.0, "D0": 1.0, "aN": ones, "aD": ones, "bN": ones, "bD": ones}
        for ones in ([1.0] * words,) * 2
    ])
    for head, table in zip(model.heads, values, strict=True):
        scores = data.draw(st.lists(ratios, min_size=2 * words, max_size=2 * words))
        head.key.weight[0, 2 : words + 2] = exact(scores[:words])
        head.key.weight[0, words + 3 :] = exact(scores[words:])
        head.value.weight[0, 2 : words + 2] = table[0, 1:]
        head.value.weight[0, words + 2 :] = table[1]
    assert_limit(model, ids)


def test_scores_of_thousands():
    model, ids = drawn(3, scale=12.0), document(3, 8, 12)
    assert_limit(model, ids)


def test_words_that_are_hardly_attended_to():
    """To first order in their attention, the output is a sum over words."""
    attention = np.array([3.0, 1.0, 2.0, 5.0]) * 1e-13
    outputs, unknown = np.array([4.0, -1.0, 2.0, 0.5]), 3.0
    model, ids = tailored([
        {
            "N0": 7.0,
            "D0": 1.0,
            "aD": attention,
            "aN": attention * outputs,
            "bD": [1e-13] * 4,
            "bN": [1e-13 * unknown] * 4,
        }
    ])
    wanted = exact(attention * (outputs - 7.0) - 1e-13 * (unknown - 7.0))
    found = closed_form.lime_limit(model, ids)[1:]
    assert_close(found, wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize("width", [1.0, 25.0, math.inf])
def test_a_linear_model_is_explained_by_its_own_weights(width):
    """Without keys attention is uniform, whatever LIME removes."""
    with torch.random.fork_rng():
        model = AttentionClassifier(300, 2, 16, 4, 256).double()
    for head in model.heads:
        head.key.weight.data.zero_()
    ids = torch.cat([torch.tensor([0]), torch.arange(2, 257)])
    readout = sum(h.classifier.weight[1] @ h.value.weight for h in model.heads) / 2
    difference = model.embedding.weight[ids] - model.embedding.weight[1]
    wanted = (difference @ readout / 256).detach()
    wanted[0] = 0
    found = closed_form.lime_limit(model, ids, kernel_width=width)
    assert_close(found, wanted, rtol=0, atol=1e-9 * wanted.abs().max().item())


def test_one_word_is_explained_by_removing_it():
    model = drawn()
    ids = torch.tensor([0, 5, 1, 5, 1, 1, 1, 1, 1, 1, 1, 1])
    logits = model(torch.stack([ids, ids.where(ids != 5, 1)]))[:, 1]
    wanted = torch.where(ids == 5, logits[0] - logits[1], 0.0)
    assert_close(closed_form.lime_limit(model, ids), wanted.detach())


@pytest.mark.parametrize("name", ["lime_limit", "lime_approximation"])
def test_every_occurrence_shows_its_words_coefficient(name):
    scores = ALL[name](drawn(), IDS)
    assert scores[1] == scores[4] != 0
    assert scores[2] == scores[9] != 0
    assert (scores[IDS < 2] == 0).all()
    assert (scores[IDS >= 2] != 0).all()


def test_the_approximation_is_equation_19():
    model = drawn()
    blank = torch.where(IDS > 1, 1, IDS)
    wanted = torch.zeros(12).double()
    for head in model.heads:
        shares = []
        for ids in (IDS, blank):
            x = (model.embedding(ids) + model.positions).detach()
            scores = (x @ head.key.weight.T) @ (head.query.weight @ x[0]) / 2
            outputs = x @ head.value.weight.T @ head.classifier.weight[1]
            shares.append(scores.softmax(0) * outputs)
        for t, word in enumerate(IDS):
            if word > 1:
                wanted[t] += 0.75 * (shares[0] - shares[1])[word == IDS].sum().detach()
    assert_close(closed_form.lime_approximation(model, IDS), wanted)
    half = closed_form.lime_approximation(model, IDS, factor=0.75)
    assert_close(half, wanted / 2)
