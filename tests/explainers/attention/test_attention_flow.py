"""Attention flow: the largest flow is the smallest cut, by trying all cuts."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from attention_models import eager_maps
from decompx_models import batch, tiny
from lrp_hooks.explainers import AttentionFlow
from lrp_hooks.explainers.attention_flow import _flow

near = partial(assert_close, rtol=1e-9, atol=1e-12)


def cuts(capacity, source, token):
    """Return the smallest cut of all: the largest flow, by duality.

    Nodes between the source and the token are on either side, whichever cuts less.
    """
    n_layers, length = capacity.shape[:2]
    assert n_layers == 2
    middle = np.arange(2**length)[:, None] >> np.arange(length) & 1
    costs = (1 - middle) @ capacity[1, source] + middle @ capacity[0][:, token]
    return costs.min()


def test_flow_is_the_smallest_cut():
    maps = torch.stack(eager_maps(tiny("Bert", "eager"), batch())).numpy()
    layers = maps.mean(2) + np.eye(6)
    layers /= layers.sum(-1, keepdims=True)
    right = np.array([
        [cuts(layers[:, b], 0, token) for token in range(6)] for b in range(2)
    ])
    found = AttentionFlow(tiny("Bert"))(batch(), 1)
    near(found.scores.numpy(), right / right.sum(1, keepdims=True))
    near(found.joint[:, 0], found.scores)
    assert (found.joint[:, 1:] == 0).all()


ROUNDED = torch.tensor(
    [
        float(number)
        for number in """
    0.74956459538365661 1.2480336581382214e-11 9.0370800365559539e-07
    0.25043450089585934 0.0039911148503011112 0.74065774118265604
    0.0053968897290108042 0.24995425423803203 9.6806506704816753e-12
    0.44275702441667153 0.5572429755248588 4.8788966561588115e-11
    0.24997772795523304 4.6982758908711648e-16 7.7273477226437797e-18
    0.75002227204476646 0.500046557739798 7.694320611811815e-05
    2.5634359506670864e-06 0.49987393561813331 1.2787817822444027e-08
    0.50686330266255686 0.49313668454839255 1.2327838479623033e-12
    0.24997170953990075 2.8289084155621104e-05 0.74999999999522837
    1.3807153583866748e-09 0.00014893795412858964 1.442909517141691e-05
    0.00017550556967215063 0.99966112738102786 0.50000129039961771
    0.20551204401947504 0.044494483468037832 0.24999218211286947
    0.4031036929207592 0.50560256437741236 7.5594577904096616e-10
    0.091293741945882689 0.29857282834269805 3.1623607794026336e-07
    0.50000273214786195 0.20142412327336209 1.0813744232844356e-09
    0.050103576572104201 0.44989635174529791 0.50000007060122353
    """.split()
    ],
    dtype=torch.float64,
).view(3, 4, 4)
"""Capacities whose sums round: what leaves a node is not what came to it."""


@pytest.mark.parametrize("query", range(4))
def test_flow_of_capacities_whose_sums_round_is_the_smallest_cut(query):
    above, between, below = ROUNDED[2, query].numpy(), ROUNDED[1].numpy(), ROUNDED[0]
    sides = np.arange(2**4)[:, None] >> np.arange(4) & 1  # 1 is on the source's side
    found = _flow(ROUNDED, query)
    for token in range(4):
        cost = (
            ((1 - sides) @ above)[:, None]
            + sides @ between @ (1 - sides).T
            + (sides @ below[:, token].numpy())[None]
        )
        near(found[token], torch.tensor(cost.min()))
