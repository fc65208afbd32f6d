"""RMSNorm in any spelling passes relevance unchanged."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lrp_hooks import instrument
from oracles import (
    Calls,
    check,
    closes,
    exact,
    inside,
    passed,
    random,
    randomised,
    seed_like,
)

RULES = ("gradient", "ah", "ln", "ah+ln", "conservative", "cp-lrp", "attnlrp")
FROZEN = RULES[2:]


def test_only_some_rule_sets_freeze_the_scale_of_rms_norm():
    norm = randomised(nn.RMSNorm(6, eps=1e-3).double())
    for rules in RULES:

        def replica(x, frozen=rules in FROZEN):
            scale = (x.square().mean(-1, keepdim=True) + 1e-3).sqrt()
            return x / (scale.detach() if frozen else scale) * norm.weight

        check(inside(norm), replica, random(2, 6), rules=rules)


class LlamaStyle(nn.Module):
    """Computed in float32, the gain applied afterwards."""

    def __init__(self, width, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        dtype = x.dtype
        y = x if dtype == torch.float64 else x.float()
        scale = torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * (y * scale).to(dtype)


class T5Style(LlamaStyle):
    def forward(self, x):
        variance = x.pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(variance + self.eps))


class GemmaStyle(LlamaStyle):
    """The gain is 1 + w."""

    def forward(self, x):
        y = x * torch.pow(x.pow(2).mean(-1, keepdim=True) + self.eps, -0.5)
        return y * (1.0 + self.weight)


class WithArguments(LlamaStyle):
    """No leaf that a probe could try: it takes two arguments."""

    def forward(self, x, residual=None):
        x = x if residual is None else x + residual
        return self.weight * x * (x.pow(2).mean(-1, True) + self.eps).pow(-0.5)


def reciprocal(part, x):
    return x * (1 / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6)) * part.weight


def quotient(part, x):
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + 1e-6) * part.weight


def by_length(part, x):
    return x / x.norm(dim=-1, keepdim=True) * 6**0.5 * part.weight


def in_place(part, x):
    y = x.clone()
    y.mul_(x.pow(2).mean(-1, keepdim=True).add_(1e-6).rsqrt_())
    return y * part.weight


def functional(part, x):
    return F.rms_norm(x, (6,), part.weight, 1e-6)


gain = {"weight": nn.Parameter(random(6, seed=4))}
RMS = {
    "torch": nn.RMSNorm(6, eps=1e-6),
    "torch without gain": nn.RMSNorm(6, elementwise_affine=False, eps=1e-6),
    "llama": LlamaStyle(6),
    "t5": T5Style(6),
    "gemma": GemmaStyle(6),
    "two arguments": WithArguments(6),
    "reciprocal": Calls(reciprocal, **gain),
    "quotient": Calls(quotient, **gain),
    "length": Calls(by_length, **gain),
    "in place": Calls(in_place, **gain),
    "functional": Calls(functional, **gain),
}


@pytest.mark.parametrize("spelling", RMS)
@pytest.mark.parametrize("rules", ["ln", "conservative", "attnlrp"])
def test_rms_norm_passes_relevance_unchanged(spelling, rules):
    norm, x = randomised(RMS[spelling].double()), random(2, 3, 6)
    x[0, 0, 0] = x[1, 2, 3] = 0
    (grad,) = passed(inside(norm), x, rules=rules)
    y = norm(x).detach()
    exact(grad * x, y * seed_like(y), atol=1e-10)
    weight = getattr(norm, "weight", None)
    weight = torch.ones(6) if weight is None else weight.detach()
    weight = weight + 1 if spelling == "gemma" else weight
    scale = (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    if spelling == "length":
        scale = scale.square().sub(1e-6).sqrt()
    exact(grad, seed_like(y) * weight / scale)
    assert not closes(inside(norm), x, rules=rules).ledger.sources


@pytest.mark.parametrize("spelling", ["torch", "llama", "t5", "gemma"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rms_norm_is_finite_in_every_dtype(spelling, dtype):
    norm = randomised(RMS[spelling].double()).to(dtype)
    x = random(2, 6, dtype=dtype)
    x[0, :3] = 0
    x[1] = 0
    (grad,) = passed(inside(norm), x)
    assert grad.isfinite().all()
    RMS[spelling].double()


class Switched(LlamaStyle):
    """RMSNorm where a flag or a function of its own says so."""

    def __init__(self, width, scales, shape=None):
        super().__init__(width)
        self.scales, self.shape = scales, shape

    def forward(self, x):
        y = super().forward(x) if self.scales else x * x
        return y if self.shape is None else self.shape(y)


def _rules_of(*modules):
    model = nn.Sequential(*modules).double()
    with instrument(model) as lrp:
        return [row.why for row in lrp.coverage.rows[1:]]


def test_modules_of_one_type_are_told_apart_by_what_shapes_them():
    norm, square = Switched(4, True), Switched(4, False)
    assert [bool(why) and "RMSNorm" in why for why in _rules_of(norm, square)] == [
        True,
        False,
    ]
    cubed, plain = (Switched(4, True, f) for f in (lambda y: y**3, lambda y: y + 0.0))
    assert ["RMSNorm" in why for why in _rules_of(cubed, plain)] == [False, True]


def test_a_module_that_was_changed_is_tried_anew():
    norm = Switched(4, True)
    assert "RMSNorm" in _rules_of(norm)[0]
    norm.scales = False
    assert "RMSNorm" not in _rules_of(norm)[0]
    norm.scales = True
    norm.forward = lambda x: x**3
    assert "RMSNorm" not in _rules_of(norm)[0]


class Shifted(LlamaStyle):
    """RMSNorm, and something behind it where there is a buffer."""

    def __init__(self, width, shift):
        super().__init__(width)
        self.register_buffer("shift", torch.full((width,), 5.0) if shift else None)

    def forward(self, x):
        y = super().forward(x)
        return y if self.shift is None else y + self.shift


def test_a_buffer_tells_modules_apart():
    for order in ((False, True), (True, False)):
        why = _rules_of(*(Shifted(4, shift) for shift in order))
        assert ["RMSNorm" in each for each in why] == [not shift for shift in order]


def test_a_class_that_was_changed_is_tried_anew(monkeypatch):
    class Late(LlamaStyle):
        scales = True

        def forward(self, x):
            return self.last(super().forward(x)) if self.scales else x * x

        def last(self, y):
            return y * 1.0

    assert "RMSNorm" in _rules_of(Late(4))[0]
    monkeypatch.setattr(Late, "last", lambda self, y: y**3)
    assert "RMSNorm" not in _rules_of(Late(4))[0]
    monkeypatch.undo()
    assert "RMSNorm" in _rules_of(Late(4))[0]
    Late.scales = False
    assert "RMSNorm" not in _rules_of(Late(4))[0]


def test_a_class_beside_the_module_is_looked_at_too(monkeypatch):
    class Last:
        def last(self, y):
            return y * 1.0

    class Mixed(LlamaStyle, Last):
        def forward(self, x):
            return self.last(super().forward(x))

    assert "RMSNorm" in _rules_of(Mixed(4))[0]
    monkeypatch.setattr(Last, "last", lambda self, y: y**3)
    assert "RMSNorm" not in _rules_of(Mixed(4))[0]
