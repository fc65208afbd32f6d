"""Normalisation: the scale is frozen, the mean is live, in every spelling."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_hooks import instrument
from oracles import (
    Calls,
    check,
    closes,
    exact,
    inside,
    of,
    passed,
    random,
    randomised,
    seed_like,
)

RULES = ("gradient", "ah", "ln", "ah+ln", "conservative", "cp-lrp", "attnlrp")
FROZEN = RULES[2:]


def centred(x: Tensor, dims, eps: float, frozen: bool = True) -> Tensor:
    scale = (x.var(dims, correction=0, keepdim=True) + eps).sqrt()
    return (x - x.mean(dims, keepdim=True)) / (scale.detach() if frozen else scale)


def affine(y: Tensor, norm: nn.Module, channels: bool = False) -> Tensor:
    if norm.weight is None:
        return y
    shape = (-1, *(1,) * (y.ndim - 2)) if channels else norm.weight.shape
    bias = getattr(norm, "bias", None)
    scaled = y * norm.weight.view(shape)
    return scaled if bias is None else scaled + bias.view(shape)


def grouped(x: Tensor, groups: int, eps: float, frozen: bool = True) -> Tensor:
    return centred(x.reshape(len(x), groups, -1), -1, eps, frozen).view_as(x)


SHAPES = {(6,): (2, 3, 6), (3, 6): (2, 3, 6), (2, 3, 4): (2, 2, 3, 4), (5,): (2, 5)}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "options", [{}, {"bias": False}, {"elementwise_affine": False}, {"eps": 0.7}]
)
@pytest.mark.parametrize("rules", ["gradient", "ln", "conservative"])
def test_layer_norm(shape, options, rules):
    norm = randomised(nn.LayerNorm(shape, **options).double())
    dims = tuple(range(-len(shape), 0))

    def replica(x):
        return affine(centred(x, dims, norm.eps, rules != "gradient"), norm)

    check(inside(norm), replica, random(*SHAPES[shape]), rules=rules)
    if rules == "conservative":
        found = closes(inside(norm), random(*SHAPES[shape]))
        assert set(found.ledger.sources) <= {"0.bias"}


@pytest.mark.parametrize("rules", RULES)
def test_only_some_rule_sets_freeze_the_scale(rules):
    norm = randomised(nn.LayerNorm(6).double())
    frozen = rules in FROZEN
    check(
        inside(norm),
        lambda x: affine(centred(x, -1, norm.eps, frozen), norm),
        random(2, 6),
        rules=rules,
    )


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("shape", [(2, 4, 3), (1, 4, 2, 3), (2, 4)])
@pytest.mark.parametrize("rules", ["gradient", "conservative"])
def test_group_norm(groups, shape, rules):
    norm = randomised(nn.GroupNorm(groups, 4).double())

    def replica(x):
        y = grouped(x, groups, norm.eps, rules != "gradient")
        return affine(y, norm, channels=True)

    check(inside(norm), replica, random(*shape), rules=rules)
    if rules == "conservative":
        closes(inside(norm), random(*shape))
        closes(of(lambda x: F.group_norm(x, groups, None, None, 1e-3)), random(*shape))


BATCH = {
    nn.BatchNorm1d: [(3, 4), (1, 4), (1, 4, 3), (2, 4, 3)],
    nn.BatchNorm2d: [(2, 4, 2, 3), (1, 4, 3, 3)],
    nn.BatchNorm3d: [(1, 4, 2, 1, 3)],
    nn.InstanceNorm1d: [(2, 4, 5)],
    nn.InstanceNorm2d: [(1, 4, 2, 3)],
}


@pytest.mark.parametrize(
    ("kind", "shape"), [(kind, shape) for kind in BATCH for shape in BATCH[kind]]
)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("is_affine", [False, True])
def test_batch_and_instance_norm(kind, shape, turned, is_affine):
    norm = randomised(kind(4, affine=is_affine).double())
    running = "Batch" in kind.__name__

    def replica(x):
        if running:
            view = (-1, *(1,) * (x.ndim - 2))
            mean, var = norm.running_mean.view(view), norm.running_var.view(view)
            y = (x - mean) / (var + norm.eps).sqrt()
        else:
            y = grouped(x, 4, norm.eps)
        y = affine(y, norm, channels=True)
        return y.transpose(0, -1) * 2 if turned else y

    def call(part, x):
        # Behind it the gradient is not contiguous.
        return part.norm(x).transpose(0, -1) * 2 if turned else part.norm(x)

    model = Calls(call, norm=norm).eval()
    check(model, replica, random(*shape))
    if not turned:
        closes(model, random(*shape))


def test_instance_norm_with_running_statistics_has_a_fixed_scale():
    norm = randomised(nn.InstanceNorm1d(4, affine=True, track_running_stats=True))
    norm.double()
    check(
        inside(norm),
        lambda x: (
            (x - norm.running_mean.view(-1, 1))
            / (norm.running_var.view(-1, 1) + norm.eps).sqrt()
            * norm.weight.view(-1, 1)
            + norm.bias.view(-1, 1)
        ),
        random(2, 4, 3),
    )
    closes(inside(norm), random(2, 4, 3))


DIVIDED = {
    "normalize": (lambda x: F.normalize(x, dim=-1), lambda x: x.norm(dim=-1)),
    "normalize, p=1": (
        lambda x: F.normalize(x, p=1.0, dim=-1),
        lambda x: x.abs().sum(-1),
    ),
    "by the sum": (lambda x: x / x.sum(-1, keepdim=True), lambda x: x.sum(-1)),
    "by hand": (
        lambda x: x.div(x.pow(2).sum(-1, keepdim=True).sqrt()),
        lambda x: x.norm(dim=-1),
    ),
    "by the deviation": (
        lambda x: x / (x.std(-1, keepdim=True) + 1e-3),
        lambda x: x.std(-1) + 1e-3,
    ),
    "true_divide": (
        lambda x: torch.true_divide(x, x.norm(dim=-1, keepdim=True)),
        lambda x: x.norm(dim=-1),
    ),
}


@pytest.mark.parametrize("name", DIVIDED)
def test_a_denominator_is_frozen(name):
    function, scale = DIVIDED[name]
    replica = lambda x: x / scale(x).detach().unsqueeze(-1)  # noqa: E731
    check(of(function), replica, random(2, 5))
    closes(of(function), random(2, 5))


def test_log_softmax_keeps_its_shift_as_a_source():
    x = random(2, 5)
    for function in (lambda x: F.log_softmax(x, -1), lambda x: x.log_softmax(dim=-1)):
        check(of(function), lambda x: x - x.logsumexp(-1, keepdim=True).detach(), x)
        found = closes(of(function), x)
        assert any("log_softmax" in name for name in found.ledger.sources)


@pytest.mark.parametrize("norm", [nn.LayerNorm(8), nn.RMSNorm(8), nn.GroupNorm(2, 8)])
def test_relevance_does_not_see_the_size_of_the_input(norm):
    norm, x = randomised(norm.double()), random(3, 8)
    with instrument(inside(norm)) as lrp:
        first, tenfold = (
            lrp.attribute(k * x, target=lambda y: (y * seed_like(y)).sum(1))
            for k in (1, 1e4)
        )
    small = 1e-4  # what epsilon contributes to the scale of the first
    exact(first.values, tenfold.values, rtol=small, atol=small)


def test_the_mean_is_live():
    norm = nn.LayerNorm(6, elementwise_affine=False).double()
    (grad,) = passed(inside(norm), random(2, 6))
    exact(grad.sum(-1), torch.zeros(2).double())
