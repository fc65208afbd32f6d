"""Attention: closed forms of frozen, shared and plain probabilities."""

from __future__ import annotations

import pytest
import torch
from lrp_hooks.rules import Attention
from torch import nn
from torch.nn import functional as F

from lrp_hooks import ArgumentError, RuleSet
from oracles import (
    brute_force,
    check,
    closes,
    dense,
    exact,
    of,
    passed,
    random,
    randomised,
    seed_like,
    weighed,
)

SHARES = (None, 0.0, 0.1, 0.25, 0.5)
shares = pytest.mark.parametrize("share", SHARES)


def sharing(share: float | None) -> RuleSet:
    base = RuleSet.named("gradient" if share is None else "conservative")
    return base.override(attention=Attention(share))


def weights(share: float | None) -> tuple[float, float]:
    """What the gradients of query and key, and of the value, are multiplied with."""
    return (1.0, 1.0) if share is None else (share / 2, 1 - share)


def shared(share, **settings):
    """The closed form: one multiplication of each gradient in front of the kernel."""
    w, u = weights(share)
    return lambda q, k, v: dense(
        weighed(q, w), weighed(k, w), weighed(v, u), **settings
    )


def qkv(lead=(2, 2), queries=4, keys=4, groups=None, width=3, seed=0):
    behind = lead if groups is None else (lead[0], groups)
    return (
        random(*lead, queries, width, seed=seed),
        random(*behind, keys, width, seed=seed + 1),
        random(*behind, keys, width + 2, seed=seed + 2),
    )


BOOL = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 1], [0, 1, 1, 1], [1, 1, 1, 1]]).bool()
PADS = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]).bool()[:, None, None]
FLOAT = random(4, 4, seed=9)
FUSED = {
    "plain": ({}, {}, {}),
    "bool mask": ({}, {"attn_mask": BOOL}, {"mask": BOOL}),
    "padding mask": ({}, {"attn_mask": PADS}, {"mask": PADS}),
    "float mask": ({}, {"attn_mask": FLOAT}, {"mask": FLOAT}),
    "mask of a head": (
        {},
        {"attn_mask": random(1, 2, 4, 4, seed=4)},
        {"mask": random(1, 2, 4, 4, seed=4)},
    ),
    "causal": ({}, {"is_causal": True}, {"causal": True}),
    "scale": ({}, {"scale": 0.3}, {"scale": 0.3}),
    "fewer queries": ({"queries": 2, "keys": 5}, {}, {}),
    "causal, fewer queries": (
        {"queries": 2, "keys": 5},
        {"is_causal": True},
        {"causal": True},
    ),
    "more queries": (
        {"queries": 5, "keys": 2},
        {"is_causal": True},
        {"causal": True},
    ),
    "grouped heads": ({"lead": (2, 4), "groups": 2}, {"enable_gqa": True}, {}),
    "grouped, causal": (
        {"lead": (1, 4), "groups": 1},
        {"enable_gqa": True, "is_causal": True},
        {"causal": True},
    ),
    "mask without heads": (
        {"lead": (2,)},
        {"attn_mask": random(2, 4, 4, seed=6)},
        {"mask": random(2, 4, 4, seed=6)},
    ),
    "grouped, padded": (
        {"lead": (2, 4), "groups": 2},
        {"enable_gqa": True, "attn_mask": PADS},
        {"mask": PADS},
    ),
    "five dimensions": ({"lead": (2, 1, 2)}, {}, {}),
    "without heads or causality": ({"lead": (2,)}, {}, {}),
    "causal without heads": ({"lead": (2,)}, {"is_causal": True}, {"causal": True}),
}


@shares
@pytest.mark.parametrize("case", FUSED)
def test_fused_attention(case, share):
    shape, given, spelled = FUSED[case]
    model = of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **given))
    check(model, shared(share, **spelled), *qkv(**shape), rules=sharing(share))
    if share is not None:
        closes(model, *qkv(**shape), rules=sharing(share))


EAGER = {
    "matmul": lambda q, k, v: F.softmax(q @ k.mT / 3**0.5, dim=-1) @ v,
    "method": lambda q, k, v: (q @ k.mT / 3**0.5).softmax(-1).matmul(v),
    "torch": lambda q, k, v: torch.softmax(q @ k.mT / 3**0.5, -1) @ v,
    "masked in place": lambda q, k, v: (
        (q @ k.mT).div_(3**0.5).add_(FLOAT * 0).softmax(-1) @ v
    ),
    "dropout": lambda q, k, v: (
        F.dropout(F.softmax(q @ k.mT / 3**0.5, -1, dtype=torch.float64), 0.1, False) @ v
    ),
    "einsum": lambda q, k, v: torch.einsum(
        "bhqk,bhke->bhqe",
        torch.einsum("bhqd,bhkd->bhqk", q, k).mul(3**-0.5).softmax(-1),
        v,
    ),
    "module": nn.Softmax(dim=-1),
}


@shares
@pytest.mark.parametrize("spelling", EAGER)
def test_explicit_softmax(spelling, share):
    function = EAGER[spelling]
    if isinstance(function, nn.Module):
        layer = function

        def function(q, k, v):
            return layer(q @ k.mT / 3**0.5) @ v

    model = of(function, **({"inner": layer} if spelling == "module" else {}))
    check(model, shared(share), *qkv(), rules=sharing(share))
    if share is not None:
        closes(model, *qkv(), rules=sharing(share))


@shares
def test_batched_matrix_products(share):
    def function(q, k, v):
        p = F.softmax(torch.bmm(q * 3**-0.5, k.transpose(1, 2)), dim=-1)
        return torch.bmm(p.view(2, 2, 4, 4).view(4, 4, 4), v)

    args = [t.flatten(0, 1) for t in qkv()]
    check(of(function), shared(share), *args, rules=sharing(share))


@pytest.mark.parametrize("scheme", ["self", "cross", "widths"])
@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("masks", ["none", "padding", "bool", "float"])
def test_multihead_attention(scheme, need_weights, batch_first, masks):
    widths = {"kdim": 6, "vdim": 10} if scheme == "widths" else {}
    inner = nn.MultiheadAttention(8, 2, batch_first=batch_first, **widths)
    inner = randomised(inner.double())
    padding = torch.tensor([[0, 0, 0, 0], [0, 0, 1, 1]]).bool()
    options = {
        "none": {},
        "padding": {"key_padding_mask": padding},
        "bool": {"attn_mask": ~BOOL},
        "float": {"attn_mask": FLOAT},
    }[masks]
    visible = {"padding": ~padding[:, None, None], "bool": BOOL, "float": FLOAT}

    def call(x, y, z):
        return inner(x, y, z, need_weights=need_weights, **options)[0]

    sizes = (8, widths.get("kdim", 8), widths.get("vdim", 8))
    x, y, z = (random(2, 4, n, seed=i) for i, n in enumerate(sizes))
    args = (x,) if scheme == "self" else (x, y, z)
    if not batch_first:
        args = [a.transpose(0, 1).contiguous() for a in args]
    model = of(lambda *a: call(a[0], a[-2 % len(a)], a[-1]), inner=inner)

    for share in (None, 0.0, 0.5) if scheme == "self" else (0.1,):
        replica = _by_hand(inner, share, visible.get(masks))
        check(
            model,
            lambda *a, f=replica: f(a[0], a[-2 % len(a)], a[-1]),
            *args,
            rules=sharing(share),
        )
    if batch_first and scheme != "cross":
        for rules in ("conservative", "attnlrp"):
            closes(model, *args, rules=rules)


def _by_hand(inner: nn.MultiheadAttention, share, mask):
    if inner.in_proj_weight is None:
        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        matrices = [getattr(inner, name) for name in names]
    else:
        matrices = inner.in_proj_weight.chunk(3)
    biases = inner.in_proj_bias.chunk(3)

    def replica(*inputs):
        if not inner.batch_first:
            inputs = [t.transpose(0, 1) for t in inputs]
        q, k, v = (
            (t @ w.T + b).unflatten(-1, (2, 4)).transpose(1, 2)
            for t, w, b in zip(inputs, matrices, biases, strict=True)
        )
        mixed = shared(share, mask=mask)(q, k, v).transpose(1, 2).flatten(2)
        out = mixed @ inner.out_proj.weight.T + inner.out_proj.bias
        return out if inner.batch_first else out.transpose(0, 1)

    return replica


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("spelling", ["fused", "eager"])
def test_what_a_softmax_absorbs_is_a_line_of_the_ledger(share, spelling):
    q, k, v = qkv((2, 1), 3, 4)
    functions = {"fused": F.scaled_dot_product_attention, "eager": EAGER["matmul"]}
    found = closes(of(functions[spelling]), q, k, v, rules=sharing(share))
    scores, g = q @ k.mT / 3**0.5, seed_like(dense(q, k, v))
    p = scores.softmax(-1)
    incoming = share * p * (g @ v.mT)
    outgoing = scores * (incoming - p * incoming.sum(-1, keepdim=True))
    absorbed = (incoming - outgoing).sum((1, 2, 3))
    (name,) = [n for n in found.ledger.sources if n.endswith("softmax")]
    exact(found.ledger.sources[name], absorbed)
    half = outgoing.sum((1, 2, 3)) / 2
    sums = [r.flatten(1).sum(1) for r in found.values.values()]
    exact(sums[0], half)
    exact(sums[1], half)
    exact(sums[2], (1 - share) / share * incoming.sum((1, 2, 3)))


def test_the_even_share_is_four_four_two():
    q, k, v = qkv()
    plain = brute_force(dense, q, k, v)
    model = of(F.scaled_dot_product_attention)
    found = passed(model, q, k, v, rules="attnlrp")
    for grad, right, divisor in zip(found, plain, (4, 4, 2), strict=True):
        exact(grad, right / divisor)


@pytest.mark.parametrize("share", [s for s in SHARES if s is not None])
def test_kernels_agree_whatever_the_other_families_do(share):
    rules = RuleSet.named("conservative").override(attention=Attention(share))
    eager = passed(of(EAGER["matmul"]), *qkv(), rules=rules)
    fused = passed(of(F.scaled_dot_product_attention), *qkv(), rules=rules)
    for a, b in zip(eager, fused, strict=True):
        exact(a, b)


FIXED = {  # what takes the gradient of q, k and v, where some of them are constants
    "query": lambda s: (0, s, 1 - s),
    "key": lambda s: (s, 0, 1 - s),
    "value": lambda s: (0.5, 0.5, 0),
    "query and value": lambda s: (0, 1, 0),
    "query and key": lambda s: (0, 0, 1),
}


@pytest.mark.parametrize("fixed", FIXED)
@pytest.mark.parametrize("spelling", ["fused", "eager"])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_what_is_constant_leaves_its_share_to_the_others(fixed, spelling, share):
    functions = {"fused": F.scaled_dot_product_attention, "eager": EAGER["matmul"]}
    tensors = dict(zip(("query", "key", "value"), qkv(), strict=True))
    live = [name for name in tensors if name not in fixed]
    parts = FIXED[fixed](share)

    def given(function, parts):
        def call(*inputs):
            every = tensors | dict(zip(live, inputs, strict=True))
            return function(
                *(weighed(x, w) for x, w in zip(every.values(), parts, strict=True))
            )

        return call

    def call(*inputs):
        every = tensors | dict(zip(live, inputs, strict=True))
        return functions[spelling](*every.values())

    inputs = [tensors[name] for name in live]
    check(of(call), given(dense, parts), *inputs, rules=sharing(share))
    closes(of(call), *inputs, rules=sharing(share))


@pytest.mark.parametrize("share", [-0.1, 0.51, 1.0, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ArgumentError, match="query_key_share"):
        Attention(share)
