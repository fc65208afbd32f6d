"""LayerRelevance: Captum's class for layers, and the numbers of `attribute`."""

import pytest
import torch
from captum.attr import GradientAttribution, LayerAttribution, LayerGradientXActivation
from hypothesis import given, settings
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from captum_models import classifier
from lrp_hooks import ArgumentError, UnruledWarning, instrument
from lrp_hooks.captum import ConservativeRelevance, LayerRelevance, NeuronRelevance
from small_models import FAMILIES, convolution, hugging_face
from strategies import build, noise, seeds, specs, tokens

X = noise(4, 6)


def test_is_captums_layer_method():
    method = LayerRelevance(classifier(), None)
    for kind in (LayerGradientXActivation, LayerAttribution, GradientAttribution):
        assert isinstance(method, kind)
    assert method.get_name() == "Layer Relevance"
    assert method.multiplies_by_inputs and method.has_convergence_delta()


@settings(max_examples=15)
@given(specs(), seeds)
def test_layers_of_any_network(spec, seed):
    model, ids = build(spec, seed % 7), tokens(2, 3, seed)
    names = ["embedding", *(f"blocks.{i}" for i in range(len(spec.parts)))]
    with instrument(model) as lrp:
        want = lrp.attribute(ids, target=1, layers=names).layers
    layers = [model.get_submodule(name) for name in names]
    for trainable in (True, False):
        model.requires_grad_(trainable)
        found = LayerRelevance(model, layers).attribute(ids, 1)
        assert isinstance(found, list)
        for name, one in zip(names, found, strict=True):
            assert_close(one, want[name])
            single = LayerRelevance(model, model.get_submodule(name))
            assert_close(single.attribute(ids, 1), one)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("trainable", [True, False])
def test_hugging_face_models_need_no_wrapper(family, trainable):
    model, ids = hugging_face(family, torch.float64), tokens(2, 5)
    model.requires_grad_(trainable)
    mask = torch.ones_like(ids)
    inputs = {"input_ids": ids, "attention_mask": mask}
    target = 1 if family == "bert" else (4, 1)
    if family == "gpt2":  # whose second argument is no mask
        inputs, mask = {"input_ids": ids}, None
    with instrument(model) as lrp:
        want = lrp.attribute(inputs, target=1)
    embedding = model.get_input_embeddings()
    arguments = None if mask is None else (mask,)
    with torch.no_grad():
        found = LayerRelevance(model, embedding).attribute(ids, target, arguments)
    assert torch.equal(found, want.values)
    assert torch.equal(found.sum(-1), want.scores)
    with instrument(model):
        inside = LayerRelevance(model.forward, embedding)
        assert torch.equal(inside.attribute(ids, target, arguments), found)
    for method in (inside, LayerRelevance(model.forward, embedding)):
        assert torch.equal(method.attribute(ids, target, arguments), found)


def test_several_embeddings_add_up():
    model, ids = hugging_face("gpt2", torch.float64), tokens(1, 4)
    for parameter in model.named_parameters():
        if parameter[0].endswith("bias"):
            nn.init.zeros_(parameter[1])
    layers = [model.transformer.wte, model.transformer.wpe]
    words, places = LayerRelevance(model, layers).attribute(ids, (3, 2))
    total = words.sum() + places.sum()
    assert_close(total, model(ids).logits[0, 3, 2].detach())
    together = LayerRelevance(model, model.transformer.drop).attribute(ids, (3, 2))
    assert_close(together.sum(), total)


class Functional(nn.Module):
    """A model that bends relevance in its own forward, not in a module."""

    def __init__(self):
        super().__init__()
        self.embedding, self.first = nn.Embedding(5, 4), nn.Linear(4, 4, bias=False)
        self.last = nn.Linear(4, 2, bias=False)

    def forward(self, ids):
        return self.last(F.gelu(self.first(self.embedding(ids))).mean(1))


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_functions_of_a_frozen_models_own_forward_have_their_rules(trainable, inside):
    torch.default_generator.manual_seed(0)
    model, ids = Functional().double().requires_grad_(trainable), torch.arange(3)[None]
    method = LayerRelevance(model, model.embedding)
    if inside:
        with instrument(model):
            found = method.attribute(ids, 1)
    else:
        found = method.attribute(ids, 1)
    assert_close(found.sum(), model(ids)[0, 1].detach())


def test_the_input_of_a_layer():
    model = classifier()
    x = X.clone()
    found = LayerRelevance(model, model[0]).attribute(x, 1, None, True)
    assert torch.equal(found, ConservativeRelevance(model).attribute(X, 1))
    assert not x.requires_grad
    above = LayerRelevance(model, model[2]).attribute(x, 1)
    below = LayerRelevance(model, model[3]).attribute(
        x, 1, attribute_to_layer_input=True
    )
    assert torch.equal(above, below) and not above.requires_grad


def test_the_convergence_delta_of_layers():
    model = classifier(bias=False)
    layers = [model[0], model[2]]
    found, deltas = LayerRelevance(model, layers).attribute(
        X, 1, return_convergence_delta=True
    )
    for one, delta in zip(found, deltas, strict=True):
        assert delta.shape == (4,) and delta.abs().max() < 1e-12
        assert_close(one.sum(1), model(X)[:, 1])
    method = LayerRelevance(model, layers)
    again = method.compute_convergence_delta(found, 0, X, target=1)
    assert_close(again, deltas)


def test_without_the_factor_it_is_the_twins_gradient():
    model = classifier()
    method = LayerRelevance(model, model[2], multiply_by_inputs=False)
    found = LayerRelevance(model, model[2]).attribute(X, 1)
    assert_close(method.attribute(X, 1) * model[:3](X), found)
    assert not method.multiplies_by_inputs and not method.has_convergence_delta()
    with pytest.raises(ArgumentError, match="multiply_by_inputs"):
        method.attribute(X, 1, return_convergence_delta=True)


def test_a_layer_before_a_frozen_gate_gets_zero():
    model, ids = hugging_face("bert", torch.float64), tokens(2, 4)
    query = model.bert.encoder.layer[0].attention.self.query
    found = LayerRelevance(model, query).attribute(ids, 1)
    assert found.shape == (2, 4, 8) and not found.any()
    split = LayerRelevance(model, query, rules="attnlrp").attribute(ids, 1)
    with instrument(model, "attnlrp") as lrp:
        name = "bert.encoder.layer.0.attention.self.query"
        want = lrp.attribute({"input_ids": ids}, target=1, layers=name).layers[name]
    assert split.any() and torch.equal(split, want)


@pytest.mark.parametrize(
    "options",
    [
        {"grad_kwargs": {"create_graph": True}},
        {"grad_kwargs": {"retain_graph": True, "allow_unused": False}},
    ],
)
def test_grad_kwargs(options):
    model = classifier()
    want = LayerRelevance(model, model[1]).attribute(X, 1)
    method = LayerRelevance(model, model[1], memory_efficient=True)
    found = method.attribute(X, 1, **options)
    assert torch.equal(found, want) and not found.requires_grad


def test_images_and_interpolation():
    model, images = convolution().double(), noise(2, 2, 4, 4)
    found = LayerRelevance(model, model[0]).attribute(images, 1)
    assert found.shape == (2, 4, 4, 4)
    assert LayerAttribution.interpolate(found, (8, 8)).shape == (2, 4, 8, 8)


def test_a_subclass_may_multiply_in_its_own_way():
    class Twice(LayerRelevance):
        def multiply_gradient_acts(self, gradients, evals):
            return tuple(2 * g * e for g, e in zip(gradients, evals, strict=True))

    model = classifier()
    found = Twice(model, model[1]).attribute(X, 1)
    assert_close(found, 2 * LayerRelevance(model, model[1]).attribute(X, 1))


def test_arguments_for_the_gradient_are_passed_on():
    torch.default_generator.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 2)).double()
    x, method = X.double(), LayerRelevance(model, model[0])
    twice = {"grad_outputs": [torch.tensor(2.0).double()] * len(x)}
    found = method.attribute(x, 1, grad_kwargs=twice)
    assert_close(found, 2 * (model[0](x) * model[1].weight[1]).detach())
    assert_close(found, 2 * method.attribute(x, 1))


def test_a_neuron_of_what_a_layer_is_given():
    torch.default_generator.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 4)).double()
    x, method = X.double(), NeuronRelevance(model, model[1])
    given = method.attribute(x, 1, attribute_to_neuron_input=True)
    assert_close(given, (x * model[0].weight[1]).detach())
    returned = method.attribute(x, 1)
    assert_close(returned, (x * (model[1].weight[1] @ model[0].weight)).detach())


class Aside(nn.Module):
    """Has a layer that is given nothing of the input."""

    def __init__(self):
        super().__init__()
        self.aside, self.last = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.last(x + self.aside(torch.ones_like(x) * self.last.bias[0]))


def test_a_neuron_that_depends_on_no_input_has_none():
    model = Aside().double()
    method = NeuronRelevance(model, model.aside)
    for before in (True, False):
        with pytest.warns(UnruledWarning, match="no gradient reaches"):
            found = method.attribute(X, 1, attribute_to_neuron_input=before)
        assert torch.equal(found, torch.zeros_like(X))
