"""Frozen attention over many keys: P^T g as the attention of keys to queries."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from lrp_hooks.rules import attention, turned_attention
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import BertForSequenceClassification

from lrp_hooks import instrument
from oracles import of, passed, random, seed_like
from tiny_bert import tiny_bert

LENGTHS = [(600, 600), (530, 700), (700, 530), (1, 513), (1200, 1100)]


@pytest.fixture
def calls(monkeypatch) -> list[Tensor]:
    """Count what P^T g was made of a log-sum-exp."""
    made = []

    def counted(*args):
        found = turned_attention.turned_attention(*args)
        made.append(found)
        return found

    monkeypatch.setattr(attention, "turned_attention", counted)
    return made


def qkv(queries: int, keys: int, heads: int = 2, groups: int = 2, **dtype):
    parts = (
        random(2, heads, queries, 8),
        random(2, groups, keys, 8, seed=1),
        random(2, groups, keys, 8, seed=2),
    )
    return tuple(part.to(**dtype) for part in parts)


def masks(queries: int, keys: int, heads: int) -> dict[str, dict[str, Any]]:
    visible = torch.arange(keys) < torch.tensor([keys, keys // 2])[:, None]
    seen = random(queries, keys, seed=3) > 0
    return {
        "none": {},
        "causal": {"is_causal": True},
        "padding": {"attn_mask": visible[:, None, None]},
        "bool": {"attn_mask": seen},
        "float": {"attn_mask": random(queries, keys, seed=5)},
        "row": {"attn_mask": random(2, 1, 1, keys, seed=5)},
        "heads": {"attn_mask": random(1, heads, queries, keys, seed=5)},
        "all": {"attn_mask": random(2, heads, queries, keys, seed=5)},
        "hidden": {"attn_mask": torch.where(seen, 0.0, -torch.inf).double()},
        "bias": {"attn_mask": torch.where(seen, 0.0, -1e30).double()},
    }


def stock(attend, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    leaf = v.clone().requires_grad_()
    y = attend(q, k, leaf)
    (grad,) = torch.autograd.grad(y, leaf, seed_like(y))
    return grad


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("mask", masks(1, 1, 1))
def test_equals_stock_autograd(lengths, mask, calls):
    q, k, v = qkv(*lengths)
    options = masks(*lengths, 2)[mask]

    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, **options)

    grads = passed(of(attend), q, k, v)
    assert calls
    torch.testing.assert_close(grads[2], stock(attend, q, k, v), rtol=1e-9, atol=1e-11)
    assert not grads[0].any() and not grads[1].any()


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("mask", ["causal", "padding", "heads", "all"])
def test_groups_of_heads(groups, mask, calls):
    q, k, v = qkv(520, 520, 6, groups)
    options = masks(520, 520, 6)[mask]

    def attend(q, k, v):
        return F.scaled_dot_product_attention(
            q, k, v, scale=0.7, enable_gqa=True, **options
        )

    grads = passed(of(attend), q, k, v)
    assert calls
    torch.testing.assert_close(grads[2], stock(attend, q, k, v), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_in_other_precisions_no_worse_than_the_kernel(dtype, calls):
    exact = qkv(600, 600)
    given = tuple(t.to(dtype) for t in exact)
    found = passed(of(F.scaled_dot_product_attention), *given)[2]
    assert calls and found.dtype == dtype
    truth = stock(F.scaled_dot_product_attention, *(t.double() for t in given))
    error = (found.double() - truth).norm()
    own = (stock(F.scaled_dot_product_attention, *given).double() - truth).norm()
    assert error <= 1.5 * own + torch.finfo(torch.float32).eps * truth.norm()


@pytest.mark.parametrize("lowest", [-torch.inf, torch.finfo(torch.float32).min, None])
def test_queries_that_see_no_key(lowest):
    """Hidden by infinity they pass nothing; by a huge number, the same to all keys."""
    q, k, v = qkv(600, 600, dtype=torch.float32)
    seen = random(600, 600, seed=3) > 0
    seen[::7] = False
    mask = seen if lowest is None else torch.where(seen, 0.0, lowest)

    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    found = passed(of(attend), q, k, v)[2]
    p = torch.softmax(q @ k.mT / 8**0.5 + mask, -1) if lowest else None
    if p is None:
        scores = (q @ k.mT / 8**0.5).masked_fill(~seen, -torch.inf)
        p = torch.softmax(scores, -1)
    expected = p.nan_to_num(0.0).mT @ seed_like(attend(q, k, v))
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-5)


def test_scores_too_large_for_a_log_sum_exp(calls):
    q, k, v = qkv(600, 600, dtype=torch.float32)
    q *= 1e3
    found = passed(of(F.scaled_dot_product_attention), q, k, v)[2]
    assert not calls
    torch.testing.assert_close(
        found, stock(F.scaled_dot_product_attention, q, k, v), rtol=5e-3, atol=5e-3
    )


@pytest.mark.parametrize("mask", masks(1, 1, 1))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_outputs_stay_bit_identical(mask, dtype):
    q, k, v = qkv(600, 600, dtype=dtype)
    options = masks(600, 600, 2)[mask]
    if "attn_mask" in options and options["attn_mask"].dtype != torch.bool:
        options["attn_mask"] = options["attn_mask"].to(dtype)
    model = of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options))
    plain = model(q, k, v)
    with instrument(model):
        assert model(q, k, v.requires_grad_()).equal(plain)


def test_few_keys_take_another_softmax(calls):
    q, k, v = qkv(600, turned_attention.LONG - 1)
    passed(of(F.scaled_dot_product_attention), q, k, v)
    assert not calls


def test_a_head_of_another_width_has_no_fused_kernel(calls):
    q, k, _ = qkv(520, 520)
    v = random(2, 2, 520, 5, seed=2)
    found = passed(of(F.scaled_dot_product_attention), q, k, v)[2]
    assert not calls
    torch.testing.assert_close(found, stock(F.scaled_dot_product_attention, q, k, v))


def test_a_checkpoint_keeps_what_it_kept(calls):
    """Hooks on saved tensors see what the rule saves, and not what the kernel does."""
    q, k, v = qkv(520, 520)
    seen = []

    def keep(tensor):
        seen.append(tensor.shape)
        return tensor

    model = of(F.scaled_dot_product_attention)
    with instrument(model), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        y = model(q, k, v.requires_grad_())
        (found,) = torch.autograd.grad(y, v, seed_like(y))
    assert calls
    assert sorted(map(len, seen)) == [3, 4, 4]
    expected = stock(F.scaled_dot_product_attention, q, k, v.detach())
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("nothing", [0.0, torch.inf, -torch.inf])
def test_however_a_kernel_writes_that_a_query_sees_no_key(nothing):
    q, k, _ = qkv(520, 520)
    seen = random(520, 520, seed=3) > 0
    seen[5] = False
    scores = (q @ k.mT / 8**0.5).masked_fill(~seen, -torch.inf)
    lse = scores.logsumexp(-1).masked_fill(~seen.any(-1), nothing)
    grad = random(2, 2, 520, 8, seed=4)
    expected = scores.softmax(-1).nan_to_num(0.0).mT @ grad
    for mask in (seen, torch.where(seen, 0.0, -torch.inf)):
        found = turned_attention.turned_attention(grad, q, k, lse, mask)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_where_hooks_on_saved_tensors_are_forbidden(calls):
    q, k, v = qkv(520, 520)
    model = of(F.scaled_dot_product_attention)
    with torch.autograd.graph.disable_saved_tensors_hooks("none here"):
        found = passed(model, q, k, v)[2]
    assert calls
    torch.testing.assert_close(found, stock(F.scaled_dot_product_attention, q, k, v))


@pytest.mark.parametrize("mask", ["none", "causal", "padding", "float"])
def test_a_kernel_that_somebody_else_chose(mask, calls):
    q, k, v = qkv(520, 520, dtype=torch.float32)
    options = masks(520, 520, 2)[mask]
    if mask == "float":
        options["attn_mask"] = options["attn_mask"].float()
    model = of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options))
    with sdpa_kernel(SDPBackend.MATH):
        plain = model(q, k, v)
        with instrument(model):
            y = model(q, k, v.requires_grad_())
            (found,) = torch.autograd.grad(y, v, seed_like(y))
        expected = stock(model, q, k, v.detach())
    assert y.equal(plain) and not calls
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("options", [{}, {"is_causal": True}])
def test_a_kernel_that_is_forbidden_by_then(options, calls):
    q, k, v = qkv(520, 520)
    model = of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options))
    with instrument(model):
        y = model(q, k, v.requires_grad_())
        with sdpa_kernel(SDPBackend.MATH):
            (found,) = torch.autograd.grad(y, v, seed_like(y))
    assert not calls
    torch.testing.assert_close(found, stock(model, q, k, v.detach()))


@pytest.mark.parametrize("low_memory", [False, True])
def test_nothing_outlives_an_explanation(low_memory, calls):
    model = tiny_bert(BertForSequenceClassification, max_position_embeddings=400)
    batch = {"input_ids": torch.arange(300).remainder(50)[None]}

    def alive() -> int:
        gc.collect()
        return sum(issubclass(type(value), Tensor) for value in gc.get_objects())

    with instrument(model) as lrp:
        lrp.attribute(batch, low_memory=low_memory)
        calls.clear()
        before = alive()
        for _ in range(3):
            lrp.attribute(batch, low_memory=low_memory)
        assert len(calls) == 3
        calls.clear()
        assert alive() == before
