"""Activations: relevance passes unchanged, or not at all through a gate."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers.activations import ACT2CLS, ACT2FN

from lrp_hooks import instrument
from oracles import closes, exact, inside, of, passed, random, seed_like

MODULES = {
    **{
        f"nn.{kind.__name__}": kind
        for kind in (
            *(nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish),
            *(nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.PReLU, nn.RReLU),
            *(nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus),
            *(nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Identity),
        )
    },
    "nn.GELU tanh": lambda: nn.GELU("tanh"),
    "nn.Threshold": lambda: nn.Threshold(0.1, 0.0),
    "nn.PReLU(5)": lambda: nn.PReLU(5),
    **{f"transformers {name}": lambda name=name: ACT2FN[name] for name in ACT2CLS},
}
FUNCTIONS = {
    **{
        f"F.{name}": getattr(F, name)
        for name in """
            relu relu6 gelu silu mish tanh elu selu celu leaky_relu rrelu hardtanh
            hardswish hardshrink softshrink sigmoid hardsigmoid softplus logsigmoid
            softsign tanhshrink
        """.split()
    },
    **{
        f"torch.{name}": getattr(torch, name)
        for name in """
            relu tanh sigmoid selu celu erf sin tan asin atan sinh asinh abs exp expm1
            log1p cos cosh erfc
        """.split()
    },
    "Tensor.relu": lambda x: x.relu(),
    "Tensor.tanh": lambda x: x.tanh(),
    "Tensor.sigmoid": lambda x: x.sigmoid(),
    "Tensor.clamp": lambda x: x.clamp(-0.5, 0.5),
    "torch.clamp": lambda x: torch.clamp(x, min=0),
    "F.gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "F.prelu": lambda x: F.prelu(x, torch.tensor([0.3]).to(x)),
    "F.threshold": lambda x: F.threshold(x, 0.2, 0.0),
    "torch.special.expit": torch.special.expit,
}
IN_PLACE = {
    "nn.ReLU": nn.ReLU(inplace=True),
    "nn.SiLU": nn.SiLU(inplace=True),
    "nn.LeakyReLU": nn.LeakyReLU(inplace=True),
    "nn.ELU": nn.ELU(inplace=True),
    "nn.Hardtanh": nn.Hardtanh(inplace=True),
    "F.relu_": F.relu_,
    "F.relu": lambda x: F.relu(x, inplace=True),
    "F.elu_": F.elu_,
    "F.leaky_relu_": F.leaky_relu_,
    "torch.relu_": torch.relu_,
    "torch.tanh_": torch.tanh_,
    "torch.sigmoid_": torch.sigmoid_,
    "Tensor.tanh_": lambda x: x.tanh_(),
    "Tensor.clamp_": lambda x: x.clamp_(min=0),
    "Tensor.sigmoid_": lambda x: x.sigmoid_(),
    "F.silu": lambda x: F.silu(x, inplace=True),
}


def case(name: str, table: dict, dtype: torch.dtype = torch.float64) -> nn.Module:
    made = table[name]
    if table is MODULES:
        made = made()
    model = inside(made if isinstance(made, nn.Module) else of(made))
    return model.to(dtype).eval()


def through_zero(model: nn.Module) -> bool:
    with torch.no_grad():
        return bool(model(torch.zeros(1, 5).double()).abs().max() < 1e-5)


def inputs() -> torch.Tensor:
    return random(2, 5).clamp(-0.95, 0.95)


def check_unchanged(model: nn.Module) -> None:
    x = inputs()
    y = model(x.clone()).detach()
    for rules in ("conservative", "cp-lrp", "attnlrp"):
        (grad,) = passed(model, x, rules=rules)
        if through_zero(model):
            exact(grad * x, y * seed_like(y))
        else:
            assert not grad.any()
    for rules in ("gradient", "ah", "ln", "ah+ln"):
        (grad,) = passed(model, x, rules=rules)
        leaf = x.clone().requires_grad_()
        (plain,) = torch.autograd.grad(model(leaf.clone()), leaf, seed_like(y))
        assert torch.equal(grad, plain)


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    check_unchanged(case(name, MODULES))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    check_unchanged(case(name, FUNCTIONS))


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place(name):
    check_unchanged(case(name, IN_PLACE))


@pytest.mark.parametrize("name", ["nn.ReLU", "F.relu_", "torch.tanh_", "Tensor.clamp_"])
def test_in_place_on_the_output_of_a_layer(name):
    layer, act = nn.Linear(4, 5, bias=False).double(), case(name, IN_PLACE)
    model = of(lambda x: act(layer(x)), layer=layer, act=act)
    x = random(2, 4)
    z = layer(x).detach()
    y = act(z.clone())
    (grad,) = passed(model, x)
    exact(grad, (seed_like(y) * y / z) @ layer.weight.detach())
    assert not closes(model, x).ledger.sources


SMOOTH = [
    name
    for name in (*MODULES, *FUNCTIONS)
    if not name.endswith(("Threshold", "threshold", "laplace"))
]
TINY = (0.0, 1e-10, -1e-10, 0.0, -0.0)


def slope_at_zero(model: nn.Module) -> torch.Tensor:
    """f'(0) as autograd has it, or one of the one-sided limits at a kink."""
    zero = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(model(zero).sum(), zero)
    return slope[0]


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16]
)
def test_at_zero_the_slope_is_the_derivative(name, dtype):
    table = MODULES if name in MODULES else FUNCTIONS
    if not through_zero(case(name, table)):
        return
    right = slope_at_zero(case(name, table))
    model = case(name, table, dtype)
    x = torch.tensor([TINY], dtype=dtype)
    with instrument(model):
        leaf = x.clone().requires_grad_()
        y = model(leaf.clone())
    (grad,) = torch.autograd.grad(y.sum(), leaf)
    assert grad.isfinite().all()
    # xIELU jumps by 8e-7 at zero.
    jump = 2e-6 if "xielu" in name else 1e-12
    exact(grad * x, y.detach(), rtol=1e-2, atol=jump)
    at_zero = x[0] == 0
    exact(
        grad[0][at_zero].double(),
        right[at_zero],
        rtol=torch.finfo(dtype).eps * 8,
        atol=0.01 if dtype in {torch.bfloat16} else 1e-3,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "name", ["nn.GELU", "nn.SiLU", "nn.Tanh", "nn.ReLU", "nn.Mish"]
)
def test_random_halves_are_finite(name, dtype):
    model = case(name, MODULES, dtype)
    x = torch.cat([random(40).mul(k) for k in (0, 1e-7, 1e-4, 1, 30)]).to(dtype)[None]
    (grad,) = passed(model, x)
    assert grad.isfinite().all()
    y = model(x).float() * seed_like(x).float()
    exact(grad.float() * x.float(), y, rtol=0.02, atol=1e-5)


class Squash(nn.Module):
    """Nobody's activation, recognised by what it does."""

    def forward(self, x):
        return x / (1 + x.abs())


class Bump(nn.Module):
    def forward(self, x):
        return torch.exp(-x * x)


def test_unknown_element_wise_modules_are_recognised():
    for model in (Squash(), Bump()):
        with instrument(model) as lrp:
            assert "element-wise" in lrp.coverage.rows[0].why
        check_unchanged(model)


def test_a_gate_is_a_source():
    x = random(2, 5)
    found = closes(of(lambda x: torch.sigmoid(x) + x), x)
    assert found.ledger.sources
    exact(found.values, x * seed_like(x))


def test_every_activation_of_transformers_is_covered():
    for name in ACT2CLS:
        with instrument(ACT2FN[name]) as lrp, warnings.catch_warnings():
            warnings.simplefilter("error")
            lrp.model(torch.ones(1, 5, requires_grad=True))
