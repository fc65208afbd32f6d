"""Frozen attention: fused forward, values-only backward in blocks of queries."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from oracles import exact, of, passed, random, seed_like


def qkv(lead=(2, 2), queries=4, keys=4, width=3):
    return (
        random(*lead, queries, width),
        random(*lead, keys, width, seed=1),
        random(*lead, keys, width + 2, seed=2),
    )


SHAPES = [(1, 1, 1, 1), (2, 3, 7, 7), (1, 2, 40, 33), (2, 2, 19, 64), (3, 1, 64, 17)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "mask", ["none", "causal", "padding", "float", "row", "heads", "all"]
)
@pytest.mark.parametrize("block", [None, 1, 200, 2000])
def test_values_only_backward_equals_stock_autograd(shape, mask, block, monkeypatch):
    batch, heads, queries, keys = shape
    if block is not None:  # few queries, heads or examples at a time
        monkeypatch.setattr("lrp_hooks.rules.value_gradient._BLOCK", block)
        monkeypatch.setattr("lrp_hooks.rules.value_gradient._FEW", 3)
    q, k, v = qkv((batch, heads), queries, keys, width=5)
    visible = torch.arange(keys) < torch.arange(keys, keys - batch, -1)[:, None]
    options = {
        "none": {},
        "causal": {"is_causal": True},
        "padding": {"attn_mask": visible[:, None, None]},
        "float": {"attn_mask": random(queries, keys, seed=5)},
        "row": {"attn_mask": random(batch, 1, 1, keys, seed=5)},
        "heads": {"attn_mask": random(heads, queries, keys, seed=5)},
        "all": {"attn_mask": random(batch, heads, queries, keys, seed=5)},
    }[mask]
    if mask == "padding" and keys < batch:
        options = {}
    grads = passed(
        of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options)), q, k, v
    )
    leaf = v.clone().requires_grad_()
    y = F.scaled_dot_product_attention(q, k, leaf, **options)
    (stock,) = torch.autograd.grad(y, leaf, seed_like(y))
    exact(grads[2], stock)
    assert not grads[0].any() and not grads[1].any()


def test_long_sequences_cross_the_block_size():
    q, k, v = qkv((1, 2), 700, 700, width=4)
    model = of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True))
    grads = passed(model, q, k, v)
    leaf = v.clone().requires_grad_()
    y = F.scaled_dot_product_attention(q, k, leaf, is_causal=True)
    (stock,) = torch.autograd.grad(y, leaf, seed_like(y))
    exact(grads[2], stock)


def test_a_query_that_sees_nothing_passes_nothing():
    q, k, v = qkv()
    mask = random(4, 4, seed=3) > 0
    mask[1] = False
    model = of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
    for rules in ("conservative", "attnlrp"):
        grads = passed(model, q, k, v, rules=rules)
        assert all(g.isfinite().all() for g in grads)
        assert not grads[0][:, :, 1].any()


@pytest.mark.parametrize("block", [1, 300, 3000])
def test_groups_of_heads_in_portions_equal_stock_autograd(block, monkeypatch):
    monkeypatch.setattr("lrp_hooks.rules.value_gradient._BLOCK", block)
    monkeypatch.setattr("lrp_hooks.rules.value_gradient._FEW", 3)
    q, k, v = random(2, 6, 11, 4), random(2, 3, 11, 4, seed=1), random(2, 3, 11, 5)
    mask = random(2, 6, 11, 11, seed=3)

    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)

    leaf = v.clone().requires_grad_()
    y = attend(q, k, leaf)
    (stock,) = torch.autograd.grad(y, leaf, seed_like(y))
    exact(passed(of(attend), q, k, v)[2], stock)


@pytest.mark.parametrize("keys", [4, 300])
@pytest.mark.parametrize("nothing", [0, 1, 2])
def test_of_nothing_nothing_comes_back(keys, nothing):
    shape = [1, 2, keys, 8]
    shape[nothing] = 0
    q, k, v = torch.zeros(3, *shape).unbind()
    if nothing == 2:  # queries alone
        k, v = torch.zeros(2, 1, 2, keys, 8).unbind()
    grads = passed(of(F.scaled_dot_product_attention), q, k, v)
    assert [g.shape for g in grads] == [t.shape for t in (q, k, v)]
    assert not any(g.any() for g in grads)
