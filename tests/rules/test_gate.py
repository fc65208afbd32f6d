"""Gated units: what is open at zero takes no relevance, what is not takes half."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from oracles import check, closes, half, of, random


def frozen_gate(x):
    a, b = x.chunk(2, -1)
    return a * b.sigmoid().detach()


GLU = {
    "nn.GLU": nn.GLU(),
    "F.glu": of(lambda x: F.glu(x, -1)),
    "by hand": of(lambda x: x.chunk(2, -1)[0] * torch.sigmoid(x.chunk(2, -1)[1])),
    "gate first": of(lambda x: x.chunk(2, -1)[1].sigmoid() * x.chunk(2, -1)[0]),
    "in place": of(lambda x: x.chunk(2, -1)[0].clone().mul_(x[..., 2:].sigmoid())),
}


@pytest.mark.parametrize("name", GLU)
@pytest.mark.parametrize("rules", ["conservative", "cp-lrp", "attnlrp"])
def test_a_sigmoid_gate_is_frozen(name, rules):
    model = nn.Sequential(GLU[name])
    check(model, frozen_gate, random(2, 3, 4), rules=rules)
    closes(model, random(2, 3, 4), rules=rules)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_a_gated_unit_along_any_dimension(dim):
    def replica(x):
        a, b = x.chunk(2, dim)
        return a * b.sigmoid().detach()

    check(nn.Sequential(nn.GLU(dim)), replica, random(2, 4, 6))


class SwiGLU(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.gate_proj = nn.Linear(4, 5, bias=False)
        self.up_proj = nn.Linear(4, 5, bias=False)
        self.down_proj = nn.Linear(5, 4, bias=False)
        self.act = act

    def forward(self, x):
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


ACTS = {"SiLU": nn.SiLU(), "GELU": nn.GELU(), "F.silu": F.silu, "F.relu": F.relu}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("turned", [False, True])
def test_gated_mlp(act, turned):
    act, x = ACTS[act], random(2, 3, 4)
    unit = SwiGLU(act).double()

    def act_unchanged(g):
        return g * (act(g) / g).detach()

    def replica(x):
        gate, up = act_unchanged(unit.gate_proj(x)), unit.up_proj(x)
        return unit.down_proj(half(gate) * half(up))

    def published(x):
        return unit.down_proj(act(unit.gate_proj(x)).detach() * unit.up_proj(x))

    def plain(x):
        return unit.down_proj(act(unit.gate_proj(x)) * unit.up_proj(x))

    if turned:  # the order of the factors does not matter
        unit.forward = lambda x: unit.down_proj(
            unit.up_proj(x) * unit.act(unit.gate_proj(x))
        )
    check(unit, replica, x, rules="conservative")
    check(unit, replica, x, rules="attnlrp")
    check(unit, published, x, rules="cp-lrp")
    check(unit, plain, x, rules="ah+ln")
    for rules in ("conservative", "cp-lrp", "attnlrp"):
        assert not closes(unit, x, rules=rules).ledger.sources


GATES = {
    "1 + tanh": lambda a, b: a * (1 + torch.tanh(b)),
    "tanh + 1": lambda a, b: a * (torch.tanh(b) + 1),
    "half of it": lambda a, b: 0.5 * a * (1 + torch.tanh(b)),
    "scaled": lambda a, b: (0.5 * (1 + torch.tanh(b))) * a,
    "1 + erf": lambda a, b: a * (1.0 + torch.erf(b)) / 2,
    "sigmoid": lambda a, b: a * torch.sigmoid(b),
    "softplus": lambda a, b: F.softplus(b) * a,
    "exp": lambda a, b: a * torch.exp(b),
    "hardsigmoid": lambda a, b: a * F.hardsigmoid(b),
    "softmax": lambda a, b: a * b.softmax(-1),
    "of a view": lambda a, b: a * torch.sigmoid(b).view(2, 3),
}


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("rules", ["conservative", "cp-lrp"])
def test_what_is_open_at_zero_is_a_gate(name, rules):
    function = GATES[name]
    args = random(2, 3), random(2, 3, seed=1)
    check(of(function), lambda a, b: function(a, b.detach()), *args, rules=rules)
    closes(of(function), *args, rules=rules)


BY_HAND = {
    "gelu": lambda x: 0.5 * x * (1.0 + torch.erf(x / 2**0.5)),
    "gelu, tanh": lambda x: (
        0.5 * x * (1 + torch.tanh(0.8 * (x + 0.044715 * torch.pow(x, 3.0))))
    ),
    "quick gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "silu": lambda x: x * x.sigmoid(),
    "swish, divided": lambda x: x / (1 + torch.exp(-x)),
    "mish": lambda x: x * torch.tanh(F.softplus(x)),
    "relu, squared": lambda x: torch.square(F.relu(x)),
    "relu, masked": lambda x: x * (x > 0),
    "leaky": lambda x: torch.where(x > 0, x, 0.1 * x),
    "tanh shrink": lambda x: x - torch.tanh(x),
    "soft sign": lambda x: x / (1 + x.abs()),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("rules", ["conservative", "cp-lrp"])
def test_activations_spelled_out_pass_relevance_unchanged(name, rules):
    function = BY_HAND[name]

    def replica(x):
        return x * (function(x) / x).detach()

    check(of(function), replica, random(2, 5), rules=rules)
    closes(of(function), random(2, 5), rules=rules)
