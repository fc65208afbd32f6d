"""The numbers that Captum's own tests of its LRP expect, through our classes.

Source: pytorch/captum, tests/attr/test_lrp.py and tests/attr/layer/test_layer_lrp.py
(BSD-3); the networks are built here from their weights.
"""

import pytest
import torch
from captum.attr import LRP, InputXGradient
from lrp_hooks.rules import AlphaBeta, Epsilon, Gamma
from torch import nn
from torch.testing import assert_close

from captum_models import Toy
from lrp_hooks import RuleSet
from lrp_hooks.captum import ConservativeRelevance, LayerRelevance

X = torch.tensor([[1.0, 2.0, 3.0]])
LINEAR = RuleSet.named("conservative")
EPSILON = LINEAR.override(linear=Epsilon(1e-9))


class Skip(nn.Module):
    def __init__(self, functional):
        super().__init__()
        self.linear = nn.Linear(2, 2, bias=False)
        nn.init.constant_(self.linear.weight, 5.0)
        self.functional = functional

    def forward(self, x):
        made = self.linear(x)
        return made + x if self.functional else torch.stack([made, x]).sum(0)


class Reused(nn.Module):
    def __init__(self, bias=False):
        super().__init__()
        torch.default_generator.manual_seed(0)
        self.linear = nn.Linear(3, 3, bias=bias)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.linear(self.relu(self.linear(self.relu(self.linear(x)))))


@pytest.mark.parametrize(
    ("rules", "inplace"), [(LINEAR, False), (LINEAR, True), (EPSILON, False)]
)
def test_simple_network(rules, inplace):
    model, batch = Toy(inplace=inplace), torch.cat([X, 3 * X])
    found, delta = ConservativeRelevance(model, rules).attribute(
        batch, target=0, return_convergence_delta=True
    )
    assert_close(found, torch.tensor([[18.0, 36, 54], [54, 108, 162]]))
    assert_close(delta, torch.zeros(2))


def test_tanh():
    model = Toy(nn.Tanh())
    for layer in (model.first, model.last):
        nn.init.constant_(layer.weight, 0.1)
    found = ConservativeRelevance(model).attribute(X)
    assert_close(found, torch.tensor([[0.0269, 0.0537, 0.0806]]), atol=5e-5, rtol=0)
    below = LayerRelevance(model, model.first).attribute(X)
    assert_close(below, torch.full((1, 3), 0.0537), atol=5e-5, rtol=0)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [(Gamma(1.0), [28 / 3, 104 / 3, 52]), (AlphaBeta(1.0, 0.0), [12, 33.6, 50.4])],
)
def test_rules_for_linear_layers(rule, expected):
    model = Toy()
    model.first.weight.data[0, 0] = -2
    rules = LINEAR.override(linear=rule)
    assert_close(
        ConservativeRelevance(model, rules).attribute(X), torch.tensor([expected])
    )
    overrides = {nn.Linear: rule}
    again = ConservativeRelevance(model, overrides=overrides).attribute(X)
    assert_close(again, torch.tensor([expected]))
    below = LayerRelevance(model, model.first, overrides=overrides).attribute(X)
    assert_close(below, torch.tensor([[24.0, 36, 36]]))


@pytest.mark.parametrize("functional", [False, True])
def test_skip_connection(functional):
    found = ConservativeRelevance(Skip(functional)).attribute(
        torch.tensor([[2.0, 3.0]]), target=1
    )
    assert_close(found, torch.tensor([[10.0, 18.0]]))


def test_maxima_take_all():
    pooled = nn.Sequential(nn.Linear(2, 2, bias=False), nn.MaxPool1d(2))
    nn.init.constant_(pooled[0].weight, 2.0)
    found = ConservativeRelevance(pooled).attribute(
        torch.tensor([[[1.0, 2], [5, 6]]]), target=1
    )
    assert_close(found, torch.tensor([[[0.0, 0], [10, 12]]]))
    square = torch.tensor([[[[1.0, 2], [5, 6]]]])
    found = ConservativeRelevance(nn.MaxPool2d(2)).attribute(square)
    assert_close(found, torch.tensor([[[[0.0, 0], [0, 6]]]]))
    cube = torch.tensor([[[[[1.0, 2], [5, 6]], [[3, 4], [7, 8]]]]])
    found = ConservativeRelevance(nn.MaxPool3d(2)).attribute(cube)
    assert found.flatten().tolist() == [0, 0, 0, 0, 0, 0, 0, 8]


def test_layers_of_the_simple_network():
    model, batch = Toy(), torch.cat([X, 2 * X])
    below = LayerRelevance(model, model.first).attribute(batch)
    above, delta = LayerRelevance(model, model.last).attribute(
        batch, attribute_to_layer_input=True, return_convergence_delta=True
    )
    assert_close(below, torch.tensor([[36.0] * 3, [72.0] * 3]))
    assert_close(above, below)
    assert_close(delta, torch.zeros(2))
    both, deltas = LayerRelevance(model, [model.first, model.last]).attribute(
        batch, attribute_to_layer_input=True, return_convergence_delta=True
    )
    assert_close(both[0], torch.tensor([[18.0, 36, 54], [36, 72, 108]]))
    assert_close(both[1], below)
    assert len(both) == len(deltas) == 2


def test_a_reused_module_works_where_captums_lrp_raises():
    model = Reused()
    x = torch.randn(2, 3)
    with pytest.raises(RuntimeError, match="more than once"):
        LRP(model).attribute(x.clone().requires_grad_(), target=0)
    before = model(x)
    found = ConservativeRelevance(model).attribute(x, target=0)
    # Where nothing but ReLU bends, the network is linear around its input.
    plain = InputXGradient(model).attribute(x.clone().requires_grad_(), target=0)
    assert_close(found, plain)
    assert_close(found.sum(1), model(x)[:, 0])
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("rules", [LINEAR, EPSILON])
def test_on_relu_nets_lrp_is_input_x_gradient(rules):
    torch.default_generator.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU())
    model.append(nn.Linear(4, 2))
    model, x = model.double(), torch.randn(4, 3, dtype=torch.float64)
    found = ConservativeRelevance(model, rules).attribute(x, target=1)
    plain = InputXGradient(model).attribute(x.clone().requires_grad_(), target=1)
    captums = LRP(model).attribute(x.clone().requires_grad_(), target=1)
    assert_close(found, plain, atol=1e-7, rtol=0)
    assert_close(found, captums.detach(), atol=1e-6, rtol=0)
