"""Rules that are asked once for several gradients say what they say for each."""

from __future__ import annotations

import pytest
import torch

from lrp_hooks.engine import splice
from lrp_hooks.errors import RuleError
from lrp_hooks.generation.batched import Noting, batch_rules, gradients_of_each
from oracles import random


def in_place(grad):
    return grad.mul_(0.5)


def strongest(grad):
    return grad * (grad.abs() > 0.3 * grad.abs().max())


def shared_out(grad):
    return grad / len(grad)


def averaged(grad):
    return grad - grad.mean()


def for_one(grad):
    assert len(grad) == 1
    return 3 * grad


def refusing(grad):
    if len(grad) > 1:
        raise RuleError("written for one example")
    return 3 * grad


def plain(grad):
    return 3 * grad


RULES = [in_place, strongest, shared_out, averaged, for_one, refusing, plain]


@pytest.mark.parametrize("folds", [True, False])
@pytest.mark.parametrize("zero", [None, 0, 2])
@pytest.mark.parametrize("rule", RULES)
def test_gradients_of_a_rule_are_those_that_it_gives_one_by_one(rule, zero, folds):
    x = random(1, 5, 4).requires_grad_()
    calls = []

    def backward(grad):
        calls.append(len(grad))
        return rule(grad)

    y = splice(x.detach().clone(), x, backward)
    collector = Noting(1, 5)
    batch_rules([y], collector, folds=folds)
    for seed in range(3):
        seeds = random(3, 1, 5, 4, seed=seed + 7)
        seeds[2] *= 5  # a row above all others
        if zero is not None and seed == 0:
            seeds[zero] = 0
        right = torch.stack([rule(one.clone()) for one in seeds])
        ((found,), _) = gradients_of_each([y], [x], [seeds.clone()], collector)
        torch.testing.assert_close(found, right)
    assert (calls[-1] == 3) == (folds and rule in {plain, in_place})
