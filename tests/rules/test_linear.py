"""Linear and convolution layers against the textbook's formulas, term by term."""

from __future__ import annotations

import pytest
import torch
from lrp_hooks.rules import AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBox, Zero, ZPlus
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from lrp_hooks import ArgumentError, RuleSet, instrument
from oracles import (
    Calls,
    closes,
    exact,
    explained,
    inside,
    passed,
    random,
    randomised,
    seed_like,
)

LAYERS = {
    "Linear": (lambda: nn.Linear(6, 4), (6,)),
    "Linear, tokens": (lambda: nn.Linear(6, 4), (3, 6)),
    "Linear without bias": (lambda: nn.Linear(6, 4, bias=False), (6,)),
    "Conv1D": (lambda: Conv1D(4, 6), (3, 6)),
    "Conv1d": (lambda: nn.Conv1d(2, 3, 3, stride=2, padding=1), (2, 6)),
    "Conv1d, groups": (lambda: nn.Conv1d(4, 4, 2, groups=2), (4, 4)),
    "Conv1d, dilation": (lambda: nn.Conv1d(2, 2, 2, dilation=2), (2, 5)),
    "Conv2d": (lambda: nn.Conv2d(2, 3, 2), (2, 3, 3)),
    "Conv2d, all": (
        lambda: nn.Conv2d(2, 4, (2, 3), stride=2, padding=1, groups=2),
        (2, 4, 4),
    ),
    "Conv2d, same": (lambda: nn.Conv2d(1, 2, 3, padding="same"), (1, 3, 3)),
    "Conv3d": (lambda: nn.Conv3d(1, 2, 2), (1, 2, 3, 3)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(2, 3, 2), (2, 4)),
    "ConvTranspose2d": (
        lambda: nn.ConvTranspose2d(2, 2, 2, stride=2, bias=False),
        (2, 2, 3),
    ),
    "ConvTranspose2d, bias": (
        lambda: nn.ConvTranspose2d(2, 4, 3, padding=1, groups=2),
        (2, 3, 2),
    ),
}


def dense(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the matrix [out, in] and the bias [out] of one example's affine map."""

    def flat(values):
        return layer(values.view(1, *x.shape[1:])).flatten()

    zero = torch.zeros(x[0].numel(), dtype=x.dtype)
    return torch.func.jacrev(flat)(zero).detach(), flat(zero).detach()


def safe(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b == 0, 0.0, a / torch.where(b == 0, 1.0, b))


def zero(t, b, r):
    z = t.sum(1) + b
    return (t / z[:, None] * r[:, None]).sum(0)


def epsilon(t, b, r, eps=0.3):
    z = t.sum(1) + b
    return (t / (z + eps * z.sign())[:, None] * r[:, None]).sum(0)


def gamma(t, b, r, g=0.25):
    z = t.sum(1) + b
    agrees = (t.sign() == z.sign()[:, None]).double()
    b_agrees = (b.sign() == z.sign()).double()
    share = t * (1 + g * agrees)
    total = share.sum(1) + b * (1 + g * b_agrees)
    return (share / total[:, None] * r[:, None]).sum(0)


def alpha_beta(t, b, r, alpha=2.0, beta=1.0):
    up, down = t.clamp(min=0), t.clamp(max=0)
    agree = up.sum(1) + b.clamp(min=0)
    against = down.sum(1) + b.clamp(max=0)
    share = alpha * safe(up, agree[:, None]) - beta * safe(down, against[:, None])
    return (share * r[:, None]).sum(0)


def z_plus(t, b, r):
    return alpha_beta(t, b, r, 1.0, 0.0)


TEXTBOOK = {
    "0": (Zero(), zero),
    "epsilon": (Epsilon(0.3), epsilon),
    "gamma": (Gamma(0.25), gamma),
    "gamma 0": (Gamma(0.0), zero),
    "large gamma": (Gamma(9.0), lambda t, b, r: gamma(t, b, r, 9.0)),
    "alpha-beta": (AlphaBeta(2.0, 1.0), alpha_beta),
    "alpha-beta 3": (
        AlphaBeta(3.0, 2.0),
        lambda t, b, r: alpha_beta(t, b, r, 3.0, 2.0),
    ),
    "z-plus": (ZPlus(), z_plus),
}
FIRST = {
    "w-square": (WSquare(), lambda w, x: w.square()),
    "flat": (Flat(), lambda w, x: (w != 0).double()),
    "z-box": (
        ZBox(-2.0, 3.0),
        lambda w, x: x * w + 2 * w.clamp(min=0) - 3 * w.clamp(max=0),
    ),
}


def built(name: str) -> tuple[nn.Module, Tensor]:
    make, shape = LAYERS[name]
    return randomised(make().double(), seed=2), random(2, *shape)


def expected(rule, layer: nn.Module, x: Tensor) -> Tensor:
    """Relevance of every input by the textbook, one example after the other."""
    y = layer(x).detach()
    matrix, bias = dense(layer, x)
    rows = []
    for values, r in zip(x.flatten(1), (y * seed_like(y)).flatten(1), strict=True):
        if rule in FIRST:
            share = FIRST[rule][1](matrix, values)
            rows.append((safe(share, share.sum(1, keepdim=True)) * r[:, None]).sum(0))
        else:
            rows.append(TEXTBOOK[rule][1](matrix * values, bias, r))
    return torch.stack(rows).view_as(x)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("rule", [*TEXTBOOK, *FIRST])
def test_textbook(name, rule):
    layer, x = built(name)
    rules = RuleSet.named("conservative").override(linear=(TEXTBOOK | FIRST)[rule][0])
    (grad,) = passed(inside(layer), x, rules=rules)
    exact(grad * x, expected(rule, layer, x), rtol=1e-8, atol=1e-9)
    found = closes(inside(layer), x, rules=rules, tolerance=1e-9)
    exact(found.values, grad * x)


@pytest.mark.parametrize("rule", TEXTBOOK)
def test_a_bias_keeps_its_share(rule):
    layer, x = built("Linear")
    rules = RuleSet.named("conservative").override(linear=TEXTBOOK[rule][0])
    found = closes(inside(layer), x, rules=rules)
    sources = found.ledger.sources
    assert any(name.endswith("bias") for name in sources)
    if rule not in {"epsilon", "alpha-beta", "alpha-beta 3", "z-plus"}:
        rest = sources.get("0.rest", torch.zeros(2))
        assert rest.abs().max() < 1e-9
    bias = next(v for k, v in sources.items() if k.endswith("bias"))
    with torch.no_grad():  # the textbook's own formula, with the bias as one more input
        extended = nn.Linear(7, 4, bias=False).double()
        extended.weight.copy_(torch.cat([layer.weight, layer.bias[:, None]], 1))
        one = torch.ones(2, 1).double()
        full = expected(rule, extended, torch.cat([x, one], 1))
    exact(bias, full[:, -1], rtol=1e-8, atol=1e-9)


def test_where_a_rule_holds():
    layer, x = built("Linear")
    second = randomised(nn.Linear(4, 2).double(), seed=5)
    model = nn.Sequential(layer, nn.ReLU(), second)
    y = model(x).detach()
    hidden = F.relu(layer(x)).detach()

    def through(first, rule):
        """Gamma in the second layer, the named rule in the first."""
        matrix, bias = second.weight.detach(), second.bias.detach()
        scores = (y * seed_like(y)).detach()
        middle = torch.stack([
            rule(matrix * h, bias, r) for h, r in zip(hidden, scores, strict=True)
        ])
        matrix, bias = layer.weight.detach(), layer.bias.detach()
        return torch.stack([
            first(matrix * v, bias, r) for v, r in zip(x, middle, strict=True)
        ])

    family = RuleSet.named("conservative").override(linear=Gamma(0.25))
    given = {
        "family": ({"rules": family}, gamma, gamma),
        "type": ({"overrides": {nn.Linear: Gamma(0.25)}}, gamma, gamma),
        "instance": ({"overrides": {layer: Gamma(0.25)}}, gamma, zero),
        "glob": ({"overrides": {"2": Gamma(0.25)}}, zero, gamma),
        "glob over all": ({"overrides": {"[02]": Gamma(0.25)}}, gamma, gamma),
        "first match": (
            {"overrides": {nn.Linear: ZPlus(), layer: Gamma(0.25)}},
            gamma,
            z_plus,
        ),
    }
    for options, first, last in given.values():
        found = explained(model, x, **options)
        exact(found.values, through(first, last), rtol=1e-8, atol=1e-10)
        assert found.ledger.error.max() < 1e-10


@pytest.mark.parametrize("rule", [*TEXTBOOK, *FIRST])
def test_inputs_that_are_exactly_zero(rule):
    layer, x = built("Linear")
    x[0, :3] = 0
    x[1] = 0
    rules = RuleSet.named("conservative").override(linear=(TEXTBOOK | FIRST)[rule][0])
    (grad,) = passed(inside(layer), x, rules=rules)
    assert grad.isfinite().all()
    closes(inside(layer), x, rules=rules, tolerance=1e-9)


@pytest.mark.parametrize("rule", [*TEXTBOOK, *FIRST])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_rule_is_finite_in_less_precision(rule, dtype):
    layer, x = built("Linear, tokens")
    rules = RuleSet.named("conservative").override(linear=(TEXTBOOK | FIRST)[rule][0])
    x[0, 0] = 0
    (grad,) = passed(inside(layer.to(dtype)), x.to(dtype), rules=rules)
    assert grad.isfinite().all() and grad.dtype == dtype


def test_a_large_gamma_tends_to_agreeing_contributions_only():
    layer, x = built("Linear without bias")
    found = explained(inside(layer), x, overrides={layer: Gamma(1e9)})
    t = layer.weight.detach() * x[:, None]
    z = t.sum(2)
    share = torch.where(t.sign() == z.sign()[..., None], t, 0.0)
    right = (share / share.sum(2, keepdim=True) * (z * seed_like(z))[..., None]).sum(1)
    exact(found.values, right, rtol=1e-6, atol=1e-6)


def test_functional_spellings_follow_the_family():
    layer, x = built("Linear")
    rules = RuleSet.named("conservative").override(linear=Gamma(0.25))
    right = expected("gamma", layer, x)
    spellings = (
        lambda m, x: F.linear(x, m.inner.weight, m.inner.bias),
        lambda m, x: F.linear(input=x, weight=m.inner.weight, bias=m.inner.bias),
        lambda m, x: torch.addmm(m.inner.bias, x, m.inner.weight.t()),
    )
    for function in spellings:
        model = Calls(function, inner=layer)
        (grad,) = passed(model, x, rules=rules)
        exact(grad * x, right)


@pytest.mark.parametrize("name", LAYERS)
def test_lrp_0_is_the_gradient_and_the_bias_is_a_source(name):
    layer, x = built(name)
    leaf = x.clone().requires_grad_()
    y = layer(leaf)
    (plain,) = torch.autograd.grad(y, leaf, seed_like(y))
    for rules in ("conservative", "gradient", "attnlrp"):
        (grad,) = passed(inside(layer), x, rules=rules)
        assert torch.equal(grad, plain)
    found = closes(inside(layer), x)
    assert set(found.ledger.sources) == (
        {"0.bias"} if layer.bias is not None else set()
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: Gamma(-0.1),
        lambda: AlphaBeta(0.5, -0.5),
        lambda: AlphaBeta(2.0, 2.0),
        lambda: ZBox(1.0, 2.0),
        lambda: ZBox(0.0, 0.0),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(ArgumentError):
        make()


@pytest.mark.parametrize("rule", [Epsilon(0.1), Gamma(0.3), AlphaBeta(2, 1)])
def test_an_output_may_be_overwritten(rule):
    torch.default_generator.manual_seed(0)
    layers = [nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)]
    plain = nn.Sequential(*layers).double()
    inplace = nn.Sequential(layers[0], nn.ReLU(inplace=True), layers[2])
    x = torch.randn(2, 6, dtype=torch.float64)
    rules = RuleSet.named("conservative").override(linear=rule)
    found = []
    for model in (plain, inplace):
        with instrument(model, rules) as lrp:
            found.append(lrp.attribute(x, target=1).scores)
    assert torch.equal(*found)


SHARING = [Epsilon(0.1), Gamma(0.25), AlphaBeta(), ZPlus(), WSquare(), Flat()]


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("rule", SHARING, ids=repr)
@pytest.mark.parametrize("transposed", [False, True])
def test_a_convolution_without_batch_dimension_is_the_same(transposed, rule, size):
    torch.default_generator.manual_seed(0)
    layer = (nn.ConvTranspose2d if transposed else nn.Conv2d)(3, 4, 3).double()
    x = torch.randn(1, 3, size, size, dtype=torch.float64)
    rules = RuleSet.named("conservative").override(linear=rule)
    batched = Calls(lambda m, x: m.layer(x).sum((2, 3)), layer=layer)
    single = Calls(lambda m, x: m.layer(x[0])[None].sum((2, 3)), layer=layer)
    found = [closes(model, x, rules=rules) for model in (batched, single)]
    exact(found[0].scores, found[1].scores)
    for name, kept in found[0].ledger.sources.items():
        exact(kept, found[1].ledger.sources[name])


@pytest.mark.parametrize("rule", SHARING, ids=repr)
def test_what_a_rule_keeps_is_computed_and_not_what_is_missing(rule, monkeypatch):
    for name in ("linear", "sharing"):
        monkeypatch.setattr(f"lrp_hooks.rules.{name}.transposed", wrong_by_half)
    rules = RuleSet.named("conservative").override(linear=rule)
    model = inside(nn.Linear(4, 3).double())
    with instrument(model, rules) as lrp:
        found = lrp.attribute(random(2, 4), target=1)
    assert found.ledger.error.max() > 1e-3


def wrong_by_half(layer, x, w, s):
    point = x.detach().requires_grad_()
    with torch.enable_grad():
        (result,) = torch.autograd.grad(layer(point, w), point, s)
    return result / 2


@pytest.mark.parametrize("rule", [*SHARING[:4], Zero()], ids=repr)
def test_a_class_that_a_bias_suppresses_leaves_the_others_alone(rule):
    rules = RuleSet.named("conservative").override(linear=rule)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    x, found = random(2, 4), []
    for bias in (0.0, -torch.inf):
        with torch.no_grad():
            model[2].bias[0] = bias
        with instrument(model, rules, strict=True) as lrp:
            found.append(lrp.attribute(x, target=1))
    assert found[1].ledger.error.max() < 1e-10
    assert torch.equal(found[0].scores, found[1].scores)
    for name, kept in found[0].ledger.sources.items():
        assert torch.equal(kept, found[1].ledger.sources[name])


def test_a_weight_that_was_computed_shares_and_its_bias_is_a_source():
    rules = RuleSet.named("conservative").override(linear=Gamma(0.25))
    bias = random(3, seed=5)
    model = Calls(lambda m, x: F.linear(x, x.flip(1)[:1].expand(3, 4), bias))
    plain = passed(model, random(1, 4))
    exact(passed(model, random(1, 4), rules=rules)[0], plain[0])
    closes(model, random(1, 4), rules=rules)
