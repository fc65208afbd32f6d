"""Pooling: the winner takes all of a maximum, an average shares by contribution."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from oracles import brute_force, closes, exact, inside, of, passed, random, seed_like

MAXIMA = {
    "MaxPool1d": (nn.MaxPool1d(2), (2, 3, 6)),
    "MaxPool1d, overlapping": (nn.MaxPool1d(3, 1, padding=1), (2, 3, 6)),
    "MaxPool2d": (nn.MaxPool2d(2, ceil_mode=True), (2, 3, 3, 5)),
    "MaxPool3d": (nn.MaxPool3d(2), (1, 2, 2, 4, 2)),
    "AdaptiveMaxPool1d": (nn.AdaptiveMaxPool1d(2), (2, 3, 5)),
    "AdaptiveMaxPool2d": (nn.AdaptiveMaxPool2d((1, 2)), (2, 3, 3, 4)),
    "F.max_pool1d": (of(lambda x: F.max_pool1d(x, 2)), (2, 3, 6)),
    "F.max_pool2d": (of(lambda x: F.max_pool2d(x, 2, dilation=2)), (2, 3, 6, 5)),
    "indices": (of(lambda x: F.max_pool2d(x, 2, return_indices=True)[0]), (1, 2, 4, 4)),
    "amax": (of(lambda x: x.amax(1)), (2, 4, 3)),
    "max": (of(lambda x: x.max(dim=1).values), (2, 4, 3)),
    "topk": (of(lambda x: x.topk(2, dim=1).values), (2, 4, 3)),
    "sort": (of(lambda x: x.sort(1)[0]), (2, 4)),
}
MEANS = {
    "AvgPool1d": (nn.AvgPool1d(2), (2, 3, 6)),
    "AvgPool2d": (nn.AvgPool2d(2, padding=1), (2, 3, 3, 5)),
    "AvgPool3d": (nn.AvgPool3d(2), (1, 2, 2, 4, 2)),
    "AdaptiveAvgPool1d": (nn.AdaptiveAvgPool1d(1), (2, 3, 5)),
    "AdaptiveAvgPool2d": (nn.AdaptiveAvgPool2d(1), (2, 3, 3, 4)),
    "AdaptiveAvgPool2d, 2": (nn.AdaptiveAvgPool2d((2, None)), (2, 3, 3, 4)),
    "mean": (of(lambda x: x.mean(1)), (2, 4, 3)),
    "sum": (of(lambda x: x.sum(dim=(1, 2))), (2, 4, 3)),
    "interpolate": (of(lambda x: F.interpolate(x, scale_factor=2.0)), (1, 2, 3, 3)),
    "bilinear": (
        of(lambda x: F.interpolate(x, (5, 4), mode="bilinear")),
        (1, 2, 3, 3),
    ),
    "Upsample": (nn.Upsample(scale_factor=2), (1, 2, 3)),
    "PixelShuffle": (nn.PixelShuffle(2), (1, 4, 2, 2)),
}


@pytest.mark.parametrize("rules", ["conservative", "attnlrp", "gradient"])
@pytest.mark.parametrize("name", [*MAXIMA, *MEANS])
def test_relevance_is_the_gradient_and_nothing_is_lost(name, rules):
    layer, shape = (MAXIMA | MEANS)[name]
    x = random(*shape)
    (grad,) = passed(inside(layer), x, rules=rules)
    exact(grad, brute_force(layer, x)[0])
    y = layer(x)
    exact((grad * x).sum(), (y * seed_like(y)).sum())
    assert not closes(inside(layer), x, rules=rules).ledger.sources


@pytest.mark.parametrize("name", ["MaxPool1d", "MaxPool2d", "AdaptiveMaxPool1d"])
def test_only_winners_get_relevance(name):
    layer, shape = MAXIMA[name]
    x = random(*shape)
    (grad,) = passed(inside(layer), x)
    winners = torch.isin(x, layer(x))
    assert not grad[~winners].any()
    assert grad[winners].all()


def test_the_mean_shares_by_contribution():
    x = random(2, 4, 3)
    (grad,) = passed(of(lambda x: x.mean(1)), x)
    exact(grad, (seed_like(x.mean(1)) / 4)[:, None].expand_as(x))
