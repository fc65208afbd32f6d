"""The primitives keep values bit for bit and change the gradient alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_hooks import freeze, rescale, secant, slope, split
from lrp_hooks.engine.autograd import carries, pass_through, scale_gradient
from lrp_hooks.engine.splicing import is_of_rules, splice
from strategies import noise, seeds

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
SLOPES = {
    "gelu": (F.gelu, 0.5),
    "relu": (F.relu, 0.0),
    "silu": (F.silu, 0.5),
    "tanh": (torch.tanh, 1.0),
    "sin": (torch.sin, 1.0),
    "elu": (F.elu, 1.0),
    "cube": (lambda x: x**3, 0.0),
}
shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


def leaf(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype, requires_grad=True)


def test_freeze_keeps_the_value_and_carries_nothing():
    x = leaf(1.0, -2.0)
    assert torch.equal(freeze(x), x)
    assert not carries(freeze(x))
    assert carries(x)
    assert not carries(1.0)


@given(shapes, seeds, st.sampled_from(list(SLOPES)), st.sampled_from(DTYPES))
def test_secant_conserves_and_keeps_bits(shape, seed, name, dtype):
    function, _ = SLOPES[name]
    x = noise(*shape, seed=seed, dtype=dtype).requires_grad_()
    y = function(x)
    joined = secant(x, y)
    assert torch.equal(joined, y)
    weights = noise(*shape, seed=seed + 1, dtype=dtype)
    (grad,) = torch.autograd.grad(joined, x, weights)
    loose = {"rtol": 2e-2, "atol": 2e-2} if dtype.itemsize == 2 else {}
    assert_close(x * grad, y * weights, **loose)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", SLOPES)
def test_slopes_at_and_near_zero_are_the_limit(name, dtype):
    function, limit = SLOPES[name]
    tiny = torch.finfo(dtype).tiny
    x = leaf(0.0, -0.0, 1e-10, -1e-10, tiny, tiny / 4, 1.0, dtype=dtype)
    for found in (slope(x, function(x)), _pulled(pass_through, function, x)):
        assert found.dtype == dtype
        assert found.isfinite().all()
        assert_close(found[:2], torch.full_like(found[:2], limit))
        near = {"rtol": 1e-2, "atol": 1e-2} if dtype.itemsize == 2 else {}
        assert_close(found[-1], function(x)[-1].detach(), **near)


def _pulled(join, function, x):
    with torch.no_grad():
        y = function(x)
    return torch.autograd.grad(join(function, x, y).sum(), x)[0]


def test_slope_without_a_graph_is_one_at_zero():
    x = torch.tensor([0.0, 2.0])
    assert_close(slope(x, torch.tensor([0.0, 3.0])), torch.tensor([1.0, 1.5]))


@given(seeds, st.integers(1, 5))
def test_split_shares_a_product_evenly(seed, n):
    factors = [noise(3, seed=seed + i).requires_grad_() for i in range(n)]
    shares = [split(factor, n) for factor in factors]
    assert all(map(torch.equal, shares, factors))
    product = torch.stack(shares).prod(0)
    grads = torch.autograd.grad(product.sum(), factors)
    for factor, grad in zip(factors, grads, strict=True):
        assert_close(factor * grad, product / n)


def test_split_leaves_a_constant_alone():
    x = torch.ones(2)
    assert split(x, 2) is x
    assert scale_gradient(x, 2) is x


def test_a_products_view_is_scaled_by_a_node_of_its_own():
    x = leaf(1.0, 2.0, 3.0, 4.0)
    product = (x * 3).view(2, 2)
    y = scale_gradient(product, 0.5)
    assert torch.equal(y, product) and is_of_rules(y.grad_fn)
    y.add_(1)  # as a model may, whose own it is
    (grad,) = torch.autograd.grad((y * y.detach()).sum(), x)
    assert_close(grad, 1.5 * y.detach().flatten())


@given(seeds, st.floats(0, 1))
def test_rescale_shares_in_proportion(seed, epsilon):
    x, w = noise(4, seed=seed), noise(3, 4, seed=seed + 1)
    grad, bias = noise(3, seed=seed + 2), noise(3, seed=seed + 3)
    z = w @ x
    coefficient = rescale(grad, z + bias, z, epsilon)
    stable = z + epsilon * torch.where(z < 0, -1.0, 1.0)
    expected = ((z + bias) * grad / stable)[:, None] * w * x
    assert_close(coefficient[:, None] * w * x, expected)


def test_rescale_of_nothing_is_nothing():
    zero = torch.zeros(2)
    assert torch.equal(rescale(torch.ones(2), torch.ones(2), zero), zero)


def test_splice_joins_any_value_with_any_backward():
    x = leaf(1.0, 2.0, 3.0)
    value, weight = torch.tensor([7.0, 9.0]), noise(2, 3)
    y = splice(value, x, lambda grad, w: grad.double() @ w, weight)
    assert torch.equal(y, value)
    assert_close(torch.autograd.grad(y.sum(), x)[0], weight.sum(0))


def test_splice_hands_the_value_on_and_frees_the_graph():
    x, seen = leaf(2.0), []
    y = splice(
        torch.tensor([5.0]),
        x,
        lambda g, v: seen.append(v) or g.double() * v,
        keep_value=True,
    )
    assert_close(torch.autograd.grad(y, x)[0], torch.tensor([5.0]).double())
    assert torch.equal(seen[0], torch.tensor([5.0]))


@pytest.mark.parametrize("join", [secant, lambda x, y: split(y, 2)])
def test_what_is_joined_may_be_overwritten(join):
    x = leaf(1.0, 2.0)
    y = join(x, torch.tanh(x))
    y += 1
    assert_close(y, torch.tanh(x) + 1)
    torch.autograd.grad(y.sum(), x)


def test_a_function_that_overwrites_its_input_continues_its_graph():
    x = leaf(1.0, -2.0)
    inner = x * 3
    y = splice(inner, inner, lambda grad: grad * 10)
    assert y is inner
    assert_close(torch.autograd.grad(y.sum(), x)[0], torch.full_like(x, 30.0))
