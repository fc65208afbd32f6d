"""Captum's gradient methods inside `instrument`: equal to ours, or something else."""

import numpy as np
import pytest
import torch
from captum.attr import (
    DeepLift,
    FeatureAblation,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    LayerActivation,
    LayerConductance,
    LayerGradCam,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    NeuronGradient,
    Occlusion,
    Saliency,
)
from torch import nn
from torch.testing import assert_close

from captum_models import classifier
from lrp_hooks import instrument
from lrp_hooks.captum import ConservativeRelevance, LayerRelevance, NeuronRelevance
from strategies import build, noise, tokens

X = noise(3, 6)
SETS = ("conservative", "attnlrp", "cp-lrp", "ah+ln", "gradient")


def _x():
    return X.clone().requires_grad_()


def _relu():
    torch.default_generator.manual_seed(0)
    layers = [nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False)]
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize("rules", SETS)
def test_gradient_times_value_is_ours(rules):
    model = classifier()
    want = ConservativeRelevance(model, rules).attribute(X, 1)
    layer = LayerRelevance(model, model[2], rules=rules).attribute(X, 1)
    neuron = NeuronRelevance(model, model[2], rules=rules).attribute(X, 3)
    with instrument(model, rules):
        assert_close(InputXGradient(model).attribute(_x(), 1), want)
        assert_close(Saliency(model).attribute(_x(), 1, abs=False) * X, want)
        found = LayerGradientXActivation(model, model[2]).attribute(X, 1)
        assert_close(found, layer)
        assert_close(NeuronGradient(model, model[2]).attribute(_x(), 3) * X, neuron)


@pytest.mark.parametrize("rules", SETS)
def test_layers_of_a_transformer_are_ours(rules):
    model, ids = build(), tokens(2, 3)
    want = LayerRelevance(model, model.embedding, rules=rules).attribute(ids, 1)
    with instrument(model, rules):
        plain = LayerGradientXActivation(model, model.embedding)
        assert_close(plain.attribute(ids, 1), want)
    outside = plain.attribute(ids, 1)
    assert (rules == "gradient") == torch.allclose(outside, want)


def test_saliency_is_the_size_of_the_twins_gradient():
    model = classifier()
    with instrument(model):
        found = Saliency(model).attribute(_x(), 1)
        sharp = torch.stack([
            torch.autograd.functional.jacobian(lambda z: model(z)[0, 1], row[None])[0]
            for row in X
        ])
    assert_close(found, sharp.abs())
    want = ConservativeRelevance(model).attribute(X, 1)
    assert_close(found * X.abs(), want.abs())


def test_integrated_gradients_sum_to_the_integral_of_f_over_alpha():
    """Each point of the path has a twin of its own: <x, g(a x)> = f(a x) / a."""
    model = classifier(bias=False)
    points, weights = np.polynomial.legendre.leggauss(40)
    integral = sum(
        w / 2 * model((p + 1) / 2 * X)[:, 1].detach() / ((p + 1) / 2)
        for p, w in zip(points.tolist(), weights.tolist(), strict=True)
    )
    options = {"n_steps": 40, "method": "gausslegendre"}
    with instrument(model):
        found = IntegratedGradients(model).attribute(_x(), target=1, **options)
        layer = LayerIntegratedGradients(model, model[0]).attribute(
            X, target=1, **options
        )
    assert_close(found.sum(1), integral)
    # At the first layer, which is linear, the path is the same.
    assert_close(layer.sum(1), integral)
    rise = model(X)[:, 1].detach()
    assert not torch.allclose(found.sum(1), rise, rtol=1e-3)
    plain = IntegratedGradients(model).attribute(_x(), target=1, **options)
    assert_close(plain.sum(1), rise, rtol=1e-5, atol=1e-8)


def test_on_relu_networks_without_biases_the_path_has_one_twin():
    model = _relu()
    want = ConservativeRelevance(model).attribute(X, 1)
    with instrument(model):
        path = IntegratedGradients(model).attribute(_x(), target=1)
        zeros = torch.zeros(1, 6, dtype=torch.float64)
        shap = GradientShap(model).attribute(_x(), zeros, n_samples=2, target=1)
        lift = DeepLift(model).attribute(_x(), target=1)
    for found in (path, shap, lift):
        assert_close(found, want)


def test_integrated_gradients_of_a_frozen_gate_miss_the_gate():
    """f = a relu(b) with a twin that gives each factor half."""

    class Product(nn.Module):
        def forward(self, x):
            return (x[:, :1] * x[:, 1:].relu()).sum(1)

    x = torch.tensor([[3.0, 2.0]], requires_grad=True)
    model = Product()
    with instrument(model):
        found = IntegratedGradients(model).attribute(x, method="gausslegendre")
    # The twin at a x: f(a x) = a^2 f, so that the integral of f(a x) / a is f / 2.
    assert_close(found, torch.tensor([[1.5, 1.5]], dtype=found.dtype))
    ours = ConservativeRelevance(model).attribute(x)
    assert_close(ours, torch.tensor([[3.0, 3.0]]))


def test_methods_without_gradients_are_what_they_were():
    model = classifier()
    tools = (
        lambda: FeatureAblation(model).attribute(X, target=1),
        lambda: Occlusion(model).attribute(X, (2,), target=1),
        lambda: LayerActivation(model, model[2]).attribute(X),
    )
    plain = [tool() for tool in tools]
    with instrument(model):
        inside = [tool() for tool in tools]
    for before, now in zip(plain, inside, strict=True):
        assert torch.equal(before, now)


def test_grad_cam_pools_the_twins_gradient():
    torch.default_generator.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.GELU(), nn.Flatten(), nn.Linear(12, 2)
    ).double()
    images = noise(2, 1, 4, 4)
    with instrument(model):
        found = LayerGradCam(model, model[1]).attribute(images, 1)
    twin = LayerRelevance(model, model[1], multiply_by_inputs=False)
    pooled = twin.attribute(images, 1).mean((2, 3), keepdim=True)
    assert_close(found, (pooled * model[:2](images)).sum(1, keepdim=True))


def test_conductance_follows_the_path_of_twins():
    model = _relu()
    layer = LayerRelevance(model, model[1]).attribute(X, 1)
    with instrument(model):
        found = LayerConductance(model, model[1]).attribute(
            X, target=1, n_steps=200, method="riemann_middle"
        )
    assert_close(found, layer, rtol=0.02, atol=1e-3)
