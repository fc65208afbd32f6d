"""Captum's own methods inside `instrument`: their numbers are relevance."""

import pytest
import torch
from captum.attr import InputXGradient, LayerGradientXActivation, Saliency
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_hooks import instrument
from small_models import hugging_face
from strategies import Spec, build, noise, tokens

SETS = ("conservative", "attnlrp", "cp-lrp", "ah+ln", "gradient")


@pytest.mark.parametrize("rules", SETS)
@pytest.mark.parametrize("trainable", [True, False])
def test_input_x_gradient(rules, trainable):
    model, x = build(Spec(class_token=True)), noise(2, 3, 8)
    model.requires_grad_(trainable)
    with instrument(model, rules) as lrp:
        expected = lrp.attribute({"inputs_embeds": x}, target=1).values
        method = InputXGradient(lambda given: model(inputs_embeds=given))
        found = method.attribute(x.clone().requires_grad_(), target=1)
    assert_close(found, expected)


@pytest.mark.parametrize("rules", SETS)
@pytest.mark.parametrize("trainable", [True, False])
def test_layer_gradient_x_activation(rules, trainable):
    model, ids = build(), tokens(2, 3)
    model.requires_grad_(trainable)
    layers = ["embedding", "blocks.2"]
    with instrument(model, rules) as lrp:
        expected = lrp.attribute(ids, target=1, layers=layers).layers
        for name in layers:
            method = LayerGradientXActivation(model, model.get_submodule(name))
            assert_close(method.attribute(ids, target=1), expected[name])
    method = LayerGradientXActivation(model, model.embedding)
    if trainable and rules != "gradient":  # gone with the instrumentation
        plain = method.attribute(ids, target=1)
        assert not torch.allclose(plain, expected["embedding"])


class Functional(nn.Module):
    """Acts between its modules, in its own forward."""

    def __init__(self):
        super().__init__()
        self.embedding, self.inner = nn.Embedding(5, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, ids):
        return self.head(F.gelu(self.inner(self.embedding(ids))).mean(1))


@pytest.mark.parametrize("trainable", [True, False])
def test_functions_of_the_model_itself_have_rules(trainable):
    model, ids = Functional().double().eval(), torch.tensor([[0, 1, 2]])
    model.requires_grad_(trainable)
    with instrument(model) as lrp:
        expected = lrp.attribute(ids, target=1).values
        method = LayerGradientXActivation(model, model.embedding)
        assert_close(method.attribute(ids, target=1), expected)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("trainable", [True, False])
def test_hugging_face_models(family, trainable):
    model, ids = hugging_face(family, torch.float64), tokens(2, 4)
    model.requires_grad_(trainable)

    def logits(given):
        out = model(input_ids=given).logits
        return out if out.ndim == 2 else out[:, -1]

    with instrument(model) as lrp:
        expected = lrp.attribute({"input_ids": ids}, target=1)
        method = LayerGradientXActivation(logits, model.get_input_embeddings())
        found = method.attribute(ids, target=1)
    assert_close(found, expected.values)
    assert_close(found.sum(-1), expected.scores)


def test_a_gradient_is_the_twins():
    model, x = build(), noise(2, 3, 8)
    with instrument(model) as lrp:
        expected = lrp.attribute({"inputs_embeds": x}, target=2).values
        method = Saliency(lambda given: model(inputs_embeds=given))
        found = method.attribute(x.clone().requires_grad_(), target=2, abs=False)
    assert_close(found * x, expected)
