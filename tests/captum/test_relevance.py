"""ConservativeRelevance and NeuronRelevance keep Captum's contract."""

import copy
import pickle
import threading

import pytest
import torch
from captum.attr import (
    Attribution,
    GradientAttribution,
    NeuronAttribution,
    NeuronGradient,
)
from hypothesis import given
from torch import nn
from torch.testing import assert_close

from captum_models import Gated, Methods, Seven, classifier
from lrp_hooks import Contrast, UnruledError, UnruledWarning, instrument
from lrp_hooks.captum import ConservativeRelevance, LayerRelevance, NeuronRelevance
from small_models import convolution
from strategies import EPSILON, build, noise, seeds, specs

X = noise(4, 6)


def _relevance(model, x, target, **options):
    with instrument(model, **options) as lrp:
        return lrp.attribute(x, target=target)


def test_classes_and_names():
    model = classifier()
    method = ConservativeRelevance(model)
    assert isinstance(method, GradientAttribution)
    assert method.multiplies_by_inputs and method.has_convergence_delta()
    assert method.get_name() == "Conservative Relevance"
    neuron = NeuronRelevance(model, model[1])
    assert isinstance(neuron, NeuronAttribution)
    assert isinstance(neuron, GradientAttribution)
    assert neuron.multiplies_by_inputs and not neuron.has_convergence_delta()
    for each in (method, neuron, LayerRelevance(model, model[0])):
        assert isinstance(each, Attribution)
        assert each.attribute.__wrapped__ is not None


@given(specs(), seeds)
def test_equals_attribute(spec, seed):
    model, x = build(spec, seed % 7), noise(2, 3, 8, seed=seed)
    model.forward = _embedded(model)
    want = _relevance(model, x, 2)
    found, delta = ConservativeRelevance(model).attribute(
        x, 2, return_convergence_delta=True
    )
    assert torch.equal(found, want.values)
    rest = want.ledger.total - want.ledger.inputs
    assert_close(delta.double(), rest.double(), atol=EPSILON[x.dtype] * 100, rtol=0)


def _embedded(model):
    plain = type(model).forward
    return lambda x: plain(model, inputs_embeds=x)


TARGETS = (
    (1, [1, 1, 1, 1]),
    ([0, 1, 2, 0], [0, 1, 2, 0]),
    (torch.tensor([2, 1, 0, 0]), [2, 1, 0, 0]),
    (torch.tensor(2), [2, 2, 2, 2]),
    (torch.tensor([2]), [2, 2, 2, 2]),
    ((1,), [1, 1, 1, 1]),
    ([(0,), (1,), (2,), (2,)], [0, 1, 2, 2]),
    (-1, [2, 2, 2, 2]),
)


@pytest.mark.parametrize(("target", "classes"), TARGETS)
def test_targets_in_captums_spelling(target, classes):
    model = classifier()
    found, delta = ConservativeRelevance(model).attribute(
        X, target, return_convergence_delta=True
    )
    for i, cls in enumerate(classes):
        one = ConservativeRelevance(model).attribute(X[i : i + 1], cls)
        assert_close(found[i : i + 1], one)
    picked = model(X)[torch.arange(4), torch.tensor(classes)]
    assert_close(delta, picked.detach() - found.sum(1))


def test_a_contrast_is_the_difference():
    method = ConservativeRelevance(classifier())
    difference = method.attribute(X, Contrast(0, [1, 2, 1, 2]))
    parts = method.attribute(X, 0) - method.attribute(X, [1, 2, 1, 2])
    assert_close(difference, parts)


def test_outputs_of_more_dimensions():
    model = nn.Sequential(nn.Linear(3, 4), nn.Unflatten(1, (2, 2))).double()
    x = noise(2, 3)
    flat = ConservativeRelevance(model[0])
    found = ConservativeRelevance(model).attribute(x, (1, 0))
    assert_close(found, flat.attribute(x, 2))
    found = ConservativeRelevance(model).attribute(x, [(1, 0), (0, 1)])
    assert_close(found, flat.attribute(x, [2, 1]))


def test_one_output_needs_no_target():
    model = nn.Sequential(classifier(), nn.Linear(3, 1).double())
    method = ConservativeRelevance(model)
    assert_close(method.attribute(X), method.attribute(X, 0))
    squeezed = nn.Sequential(model, nn.Flatten(0))
    assert_close(ConservativeRelevance(squeezed).attribute(X), method.attribute(X, 0))


def test_a_bias_free_network_conserves():
    model = classifier(bias=False)
    found, delta = ConservativeRelevance(model).attribute(X, 1, None, True)
    assert delta.shape == (4,) and delta.abs().max() < 1e-12
    assert_close(found.sum(1), model(X)[:, 1])


def test_the_convergence_delta_in_both_of_captums_spellings():
    model = classifier()
    method = ConservativeRelevance(model)
    found, delta = method.attribute(X, 1, return_convergence_delta=True)
    as_gradient = method.compute_convergence_delta(found, 0, X, target=1)
    as_lrp = method.compute_convergence_delta((found,), model(X)[:, 1])
    assert_close(as_gradient, delta)
    assert_close(as_lrp, delta)
    # A dropout that other classes of Captum would leave on has no part in it.
    dropping = nn.Sequential(nn.Dropout(0.5), model).train()
    again = ConservativeRelevance(dropping).compute_convergence_delta(found, 0, X, 1)
    assert_close(again, delta)


class Two(nn.Module):
    """Two inputs, an argument, and one input more that goes nowhere."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4).double(), nn.Linear(2, 4).double()
        self.out = nn.Linear(4, 2).double()

    def forward(self, a, b, unused, factor=1.0):
        return self.out(torch.relu(self.a(a) + factor * self.b(b)))


def test_tuples_and_additional_arguments():
    model, inputs = Two(), (noise(4, 3), noise(4, 2), noise(4, 5))
    found = ConservativeRelevance(model).attribute(inputs, 1, (2.0,))
    assert isinstance(found, tuple) and [len(f[0]) for f in found] == [3, 2, 5]
    assert not found[2].any()
    # The hand-made gradient of a ReLU network.
    hidden = torch.relu(model.a(inputs[0]) + 2 * model.b(inputs[1])) > 0
    back = hidden * model.out.weight[1]
    assert_close(found[0], inputs[0] * (back @ model.a.weight))
    assert_close(found[1], inputs[1] * (2 * back @ model.b.weight))
    single = ConservativeRelevance(classifier()).attribute((X,), 1)
    assert isinstance(single, tuple) and len(single) == 1


@pytest.mark.parametrize("trainable", [True, False])
def test_the_model_and_the_inputs_are_left_as_found(trainable):
    model = convolution().train().requires_grad_(trainable)
    x = torch.randn(2, 2, 4, 4, requires_grad=True)
    state = copy.deepcopy(model.state_dict())
    method = ConservativeRelevance(model)
    with torch.no_grad():
        found = method.attribute(x, 1)
    assert torch.equal(found, method.attribute(x.detach(), 1))  # no dropout
    assert not found.requires_grad and x.grad is None and x.requires_grad
    for module in model.modules():
        assert module.training and not module._forward_hooks
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
    for parameter in model.parameters():
        assert parameter.grad is None and parameter.requires_grad is trainable


def test_nothing_is_left_after_an_error():
    model = classifier()
    for wrong in (X[:, :3], torch.full_like(X, torch.nan)):
        with pytest.raises((RuntimeError, ValueError)):
            ConservativeRelevance(model).attribute(wrong, 1)
        assert "forward" not in vars(model)
        assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize("spelling", ["forward", "__call__", "gated"])
def test_bound_methods(spelling):
    torch.default_generator.manual_seed(0)
    model = Methods() if spelling == "gated" else Gated()
    reference = Gated()
    reference.load_state_dict(model.state_dict())
    want = ConservativeRelevance(reference).attribute(X, 1)
    method = getattr(model, spelling)
    assert_close(ConservativeRelevance(method).attribute(X, 1), want)
    with instrument(model):
        inside = ConservativeRelevance(getattr(model, spelling))
        assert_close(inside.attribute(X, 1), want)
    assert_close(inside.attribute(X, 1), want)


def test_reuses_the_instrumentation_in_force():
    model = classifier()
    for rules in ("gradient", "attnlrp", "conservative"):
        with instrument(model, rules) as lrp:
            found = ConservativeRelevance(model).attribute(X, 1)
            assert_close(found, lrp.attribute(X, 1).values)
            named = ConservativeRelevance(model, rules).attribute(X, 1)
            assert_close(named, found)
            assert lrp.attribute(X, 1) is not None  # still there
        alone = ConservativeRelevance(model, rules).attribute(X, 1)
        assert_close(alone, found)
    with instrument(model):  # a part of what is instrumented has its rules too
        inner = ConservativeRelevance(model[1]).attribute(X, (0,))
    assert_close(inner.sum(1), nn.functional.gelu(X)[:, 0])


def test_copies_and_pickles_work():
    method = ConservativeRelevance(classifier())
    want = method.attribute(X, 1)
    for other in (
        copy.copy(method),
        copy.deepcopy(method),
        pickle.loads(pickle.dumps(method)),
    ):
        assert torch.equal(other.attribute(X, 1), want)


class Waiting(nn.Module):
    """Lets a second call begin before the first goes on, if anything can."""

    def __init__(self):
        super().__init__()
        self.inside = [threading.Event(), threading.Event()]
        self.first_is_done = threading.Event()

    def forward(self, x):
        if threading.current_thread() is threading.main_thread():
            return x
        if not self.inside[0].is_set():
            self.inside[0].set()
            self.inside[1].wait(0.5)
        else:
            self.inside[1].set()
            self.first_is_done.wait(5)
        return x * 1


def test_a_call_does_not_take_the_rules_from_another_thread():
    waiting = Waiting()
    model = nn.Sequential(nn.Linear(6, 6), waiting, nn.GELU(), nn.Linear(6, 3)).double()
    method, found = ConservativeRelevance(model, overrides={"2": Seven()}), {}
    want = method.attribute(X, 1)

    def first():
        found["first"] = method.attribute(X, 1)
        waiting.first_is_done.set()

    def second():
        waiting.inside[0].wait(5)
        found["second"] = method.attribute(X, 1)

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_close(found["first"], want)
    assert_close(found["second"], want)


def test_a_frozen_way_out_is_zero_and_said():
    model = nn.Sequential(nn.Linear(6, 3), nn.Softmax(-1)).double()
    with pytest.warns(UnruledWarning, match="explain the logits"):
        found, delta = ConservativeRelevance(model).attribute(X, 1, None, True)
    assert not found.any()
    assert_close(delta, model(X)[:, 1].detach())
    with pytest.raises(UnruledError, match="explain the logits"):
        ConservativeRelevance(model, strict=True).attribute(X, 1)


@pytest.mark.parametrize("at_input", [False, True])
def test_neurons(at_input):
    model = classifier(bias=False)
    layer = model[2] if at_input else model[1]
    method = NeuronRelevance(model, layer)
    with torch.no_grad():
        found = method.attribute(X, 3, attribute_to_neuron_input=at_input)
    assert_close(found.sum(1), model[:2](X)[:, 3])
    assert_close(found, ConservativeRelevance(model[:2]).attribute(X, 3))
    several = method.attribute(
        (X,), (slice(1, 3),), attribute_to_neuron_input=at_input
    )[0]
    chosen = method.attribute(
        X, lambda value: value[:, 1:3].sum(1), attribute_to_neuron_input=at_input
    )
    assert_close(several, chosen)
    with instrument(model):
        plain = NeuronGradient(model, layer).attribute(
            X.clone().requires_grad_(), 3, attribute_to_neuron_input=at_input
        )
        assert_close(plain * X, found)


def test_a_neuron_behind_a_frozen_gate_is_zero_and_said():
    model = nn.Sequential(nn.Linear(6, 3), nn.Softmax(-1), nn.Linear(3, 2)).double()
    with pytest.warns(UnruledWarning, match="no gradient reaches"):
        found = NeuronRelevance(model, model[1]).attribute(X, 1)
    assert not found.any()
