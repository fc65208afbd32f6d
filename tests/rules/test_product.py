"""Products: n factors that carry relevance share it evenly, gates take none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_hooks import instrument
from oracles import Calls, check, closes, exact, half, of, passed, random, seed_like


def halves(function):
    """A product of two in which each factor has half of the gradient."""
    return lambda a, b: function(half(a), half(b))


def overwritten(function):
    """An in-place function on a copy of its first argument."""

    def call(a, *rest):
        a = a.clone()
        function(a, *rest)
        return a

    return call


SQUARE = (2, 3, 3)
ELEMENTWISE = {
    "*": lambda a, b: a * b,
    "torch.mul": torch.mul,
    "torch.multiply": torch.multiply,
    "Tensor.mul": lambda a, b: a.mul(b),
    "broadcast": lambda a, b: a * b[..., :1],
    "cross": lambda a, b: torch.cross(a, b, dim=-1),
}
IN_PLACE = {
    "mul_": lambda a, b: a.mul_(b),
    "*=": lambda a, b: a.__imul__(b),
    "multiply_": lambda a, b: a.multiply_(b),
}
CONTRACTIONS = {
    "@": lambda a, b: a @ b,
    "matmul": torch.matmul,
    "Tensor.matmul": lambda a, b: a.matmul(b),
    "bmm": torch.bmm,
    "Tensor.bmm": lambda a, b: a.bmm(b),
    "mm": lambda a, b: torch.mm(a[0], b[1]),
    "mv": lambda a, b: torch.mv(a[0], b[1, 0]),
    "dot": lambda a, b: torch.dot(a[0, 0], b[1, 0]).view(1),
    "inner": torch.inner,
    "outer": lambda a, b: torch.outer(a[0, 0], b[1, 0]),
    "kron": lambda a, b: torch.kron(a[0], b[0]),
    "einsum": lambda a, b: torch.einsum("bij,bjk->bik", a, b),
    "einsum, a list": lambda a, b: torch.einsum("bij,bkj->bik", [a, b]),
    "einsum, a sum": lambda a, b: torch.einsum("bij,bij->b", a, b),
    "linear": lambda a, b: F.linear(a, b[0]),
    "conv1d": lambda a, b: F.conv1d(a, b, padding=1),
}


MIXING = {"mm", "mv", "dot", "inner", "outer", "kron", "linear", "conv1d"}
"""Examples take part in one another's outputs: there is no ledger for each."""


@pytest.mark.parametrize("name", [*ELEMENTWISE, *CONTRACTIONS])
def test_two_factors_share_evenly(name):
    function = (ELEMENTWISE | CONTRACTIONS)[name]
    args = random(*SQUARE), random(*SQUARE, seed=1)
    check(of(function), halves(function), *args)
    check(of(function), function, *args, rules="ah+ln")
    if name not in MIXING:
        found = closes(of(function), *args)
        for values in found.values.values():
            exact(
                values.sum() * 2, (function(*args) * seed_like(function(*args))).sum()
            )


@pytest.mark.parametrize("name", IN_PLACE)
def test_two_factors_in_place(name):
    args = random(*SQUARE), random(*SQUARE, seed=1)
    call = overwritten(IN_PLACE[name])
    check(of(call), halves(lambda a, b: a * b), *args)
    check(of(call), lambda a, b: a * b, *args, rules="gradient")
    closes(of(call), *args)


def test_three_factors_share_evenly():
    args = [random(2, 3, seed=i) for i in range(3)]
    thirds = lambda f: lambda *x: f(*(half(t, 3) for t in x))  # noqa: E731
    for equation in ("bi,bi,bi->b", "bi,bj,bk->bijk", "bi,bi,bj->bj"):
        function = lambda *x, e=equation: torch.einsum(e, *x)  # noqa: E731
        check(of(function), thirds(function), *args)
        listed = lambda *x, e=equation: torch.einsum(e, list(x))  # noqa: E731
        check(of(listed), thirds(function), *args)
        closes(of(function), *args)
    # Two products in a row are not one of three: the shares are a 1/4, 1/4 and 1/2.
    model = of(lambda a, b, c: a * b * c)
    check(model, lambda a, b, c: half(a, 4) * half(b, 4) * half(c), *args)


POWERS = {
    "square": (torch.square, 2),
    "Tensor.square": (lambda x: x.square(), 2),
    "** 2": (lambda x: x**2, 2),
    "pow 3": (lambda x: x.pow(3), 3),
    "pow by a tensor": (lambda x: torch.pow(x, torch.tensor(3.0)), 3),
    "float_power": (lambda x: torch.float_power(x, 2), 2),
    "x * x": (lambda x: x * x, 2),
    "x * x * x": (lambda x: x * x * x, 3),
    "relu squared": (lambda x: F.relu(x) ** 2, 2),
    "prod": (lambda x: x.prod(-1), 3),
    "sqrt": (lambda x: (x * x + 0).sqrt(), 1),
    "sqrt of a square": (lambda x: torch.sqrt(torch.square(x)), 1),
    "norm": (lambda x: x.norm(dim=-1), 1),
    "vector_norm": (lambda x: torch.linalg.vector_norm(x, dim=-1), 1),
    "std": (lambda x: x.std(-1), 1),
    "var": (lambda x: x.var(-1), 2),
}


@pytest.mark.parametrize("name", POWERS)
def test_powers_pass_relevance_unchanged(name):
    function, degree = POWERS[name]
    x = random(2, 3)
    check(of(function), lambda x: half_of(function, x, degree), x)
    closes(of(function), x)


def half_of(function, x: Tensor, degree: float) -> Tensor:
    """f with 1/degree of its gradient, by Euler's theorem complete."""
    y = function(x)
    return y / degree + (1 - 1 / degree) * y.detach()


def test_powers_with_a_pole_are_constants():
    x = random(2, 3).abs()
    for function in (lambda x: x**-1.0, lambda x: x.pow(-0.5), lambda x: 2.0**x):
        (grad,) = passed(of(function), x)
        assert not grad.any()
        assert closes(of(lambda x, f=function: f(x) + x), x).ledger.sources


@pytest.mark.parametrize("rules", ["conservative", "cp-lrp", "attnlrp", "ah+ln", "ln"])
def test_a_quotient_freezes_its_denominator(rules):
    check(
        of(lambda a, b: a / b),
        lambda a, b: a / b.detach(),
        random(2, 3),
        random(2, 3, seed=1),
        rules=rules,
    )


def test_under_the_plain_gradient_a_quotient_has_both_derivatives():
    args = random(2, 3), random(2, 3, seed=1)
    for rules in ("gradient", "ah"):
        check(of(lambda a, b: a / b), lambda a, b: a / b, *args, rules=rules)


SUMMED = {
    "addmm": (torch.addmm, (2, 4), (2, 3), (3, 4)),
    "addmm, a row": (torch.addmm, (4,), (2, 3), (3, 4)),
    "baddbmm": (torch.baddbmm, (2, 2, 4), (2, 2, 3), (2, 3, 4)),
    "addbmm": (torch.addbmm, (2, 4), (3, 2, 3), (3, 3, 4)),
    "addmv": (torch.addmv, (2,), (2, 3), (3,)),
    "addr": (torch.addr, (2, 4), (2,), (4,)),
    "addcmul": (torch.addcmul, (2, 4), (2, 4), (2, 4)),
}


@pytest.mark.parametrize("name", SUMMED)
@pytest.mark.parametrize("scales", [{}, {"beta": 0.5, "alpha": 2.0}, {"beta": 0}])
def test_a_summand_and_a_product(name, scales):
    function, *shapes = SUMMED[name]
    if name == "addcmul":
        scales = {"value": 2.0} if scales else {}
    call = lambda c, a, b: function(c, a, b, **scales)  # noqa: E731
    args = [random(*shape, seed=i) for i, shape in enumerate(shapes)]
    check(of(call), lambda c, a, b: call(c, half(a), half(b)), *args)
    constant = args[0]
    model = Calls(lambda part, a: call(part.held, a, args[2]), held=constant)
    check(model, lambda a: call(constant, a, args[2]), args[1])
    if name not in {"addbmm", "addr"}:  # these sum over, or have no, batch
        found = closes(model, args[1])
        expected = set() if scales.get("beta", 1) == 0 else {"held"}
        assert set(found.ledger.sources) == expected


def test_a_parameter_is_a_constant_and_no_factor():
    gain, bias = nn.Parameter(random(3, seed=3)), nn.Parameter(random(3, seed=4))
    model = Calls(lambda m, x: x * m.gain + m.bias, gain=gain, bias=bias)
    check(model, lambda x: x * gain.detach() + bias.detach(), random(2, 3))
    found = closes(model, random(2, 3))
    exact(found.ledger.sources["bias"], seed_like(random(2, 3)) @ bias.detach())
    matrix = nn.Parameter(random(3, 3, seed=5))
    for function in (
        lambda m, x: x @ m.matrix,
        lambda m, x: torch.einsum("bi,ij->bj", x, m.matrix),
        lambda m, x: F.linear(x, m.matrix.t()),
        lambda m, x: torch.addmm(m.bias, x, m.matrix) - m.bias,
    ):
        model = Calls(function, matrix=matrix, bias=bias)
        check(model, lambda x: x @ matrix.detach(), random(2, 3))


def test_bilinear_shares_evenly():
    layer = nn.Bilinear(3, 4, 5).double()
    args = random(2, 3), random(2, 4, seed=1)
    call = lambda a, b: F.bilinear(a, b, layer.weight, layer.bias)  # noqa: E731
    model = Calls(lambda m, a, b: m.layer(a, b), layer=layer)
    check(model, halves(call), *args)
    closes(model, *args)


@pytest.mark.parametrize("dim", [0, 1])
def test_cumulative_products(dim):
    x = random(2, 4)
    counts = torch.arange(1.0, x.shape[dim] + 1).double()
    counts = counts.view(-1, 1) if dim == 0 else counts

    def replica(x):
        y = x.cumprod(dim)
        return y / counts + (1 - 1 / counts) * y.detach()

    check(of(lambda x: x.cumprod(dim)), replica, x)
    check(of(lambda x: torch.cumprod(x, dim=dim)), replica, x)


VIEWS = {
    "one token": lambda x: x[:, :1],
    "one token of a longer text": lambda x: x[:, 3:4],
    "turned": lambda x: x.transpose(0, 1),
    "every other token": lambda x: x[:, ::2],
    "a dimension more": lambda x: x[:, :1].unsqueeze(1),
    "expanded": lambda x: x[:, :1].expand(-1, 5, -1),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_a_trainable_layer_on_a_view_is_bit_identical(view, batch, bias):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(16, 16, bias=bias)

        def forward(self, x):
            return self.layer(view(x))

    torch.default_generator.manual_seed(0)
    model = Model()
    for _ in range(10):
        x = torch.randn(batch, 12, 16)
        plain = model(x)
        with instrument(model):
            assert torch.equal(model(x), plain)


def test_one_example_does_not_decide_on_the_powers_of_another():
    model = of(lambda x: (1 + x[..., :2].abs()) ** x[..., 2:])
    x = torch.tensor([[1.0, 2.0, 0.5, 2.0], [1.0, 2.0, 0.5, -1.0]], dtype=torch.float64)
    with instrument(model) as lrp:
        both = lrp.attribute(x, lambda y: y.sum(1))
        alone = [lrp.attribute(row[None], lambda y: y.sum(1)) for row in x]
    torch.testing.assert_close(both.values, torch.cat([one.values for one in alone]))
    assert both.ledger.error.max() < 1e-12
    assert both.values[1, 0] != 0  # frozen by its own exponent alone
    assert both.values[1, 1] == 0
