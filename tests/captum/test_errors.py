"""What the Captum classes refuse, and what they say."""

import functools

import pytest
import torch
from captum.attr import (
    LayerIntegratedGradients,
    TextTemplateInput,
    TextTokenInput,
)
from torch import nn

from captum_models import classifier, tokenizer, writer
from lrp_hooks import (
    AlreadyInstrumentedError,
    ArgumentError,
    CompiledModelError,
    Contrast,
    InferenceModeError,
    NonFiniteError,
    TargetError,
    TextError,
    UnsupportedModelError,
    instrument,
)
from lrp_hooks.captum import (
    ConservativeRelevance,
    LayerRelevance,
    LLMRelevance,
    NeuronRelevance,
)
from small_models import hugging_face
from strategies import noise, tokens

X = noise(2, 6)


@pytest.mark.parametrize(
    "function",
    [lambda x: x, functools.partial(classifier()), len, "model", None, [].append],
)
def test_forward_functions_that_are_no_models(function):
    with pytest.raises(ArgumentError, match=r"torch\.nn\.Module or a bound method"):
        ConservativeRelevance(function)
    with pytest.raises(ArgumentError, match="forward_func is a"):
        LayerRelevance(function, nn.Linear(2, 2))
    with pytest.raises(ArgumentError, match="forward_func is a"):
        NeuronRelevance(function, nn.Linear(2, 2))


@pytest.mark.parametrize("layer", [nn.GELU(), "0", [], 3])
def test_layers_that_are_not_in_the_model(layer):
    with pytest.raises(ArgumentError, match="is no module of this Sequential"):
        LayerRelevance(classifier(), layer)
    with pytest.raises(ArgumentError, match="is no module of this Sequential"):
        NeuronRelevance(classifier(), layer)


def test_a_layer_that_was_never_set():
    with pytest.raises(ArgumentError, match="layer=None"):
        LayerRelevance(classifier(), None).attribute(X, 1)
    with pytest.raises(ArgumentError, match="layer=GELU"):
        LayerRelevance(classifier(), [nn.GELU()])


def test_integer_inputs():
    model = hugging_face("bert")
    for method in (
        ConservativeRelevance(model),
        functools.partial(NeuronRelevance, model, model.classifier),
    ):
        ready = method() if isinstance(method, functools.partial) else method
        with pytest.raises(ArgumentError, match=r"LayerRelevance\(model, model\.get_"):
            ready.attribute(tokens(1, 3), 1)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([X], "a list"),
        ("text", "a str"),
        ((), "empty tuple"),
        ((X, None), "a NoneType"),
        ((X, torch.ones(2, 6).bool()), r"additional_forward_args"),
    ],
)
def test_inputs_of_other_kinds(inputs, message):
    with pytest.raises(ArgumentError, match=message):
        ConservativeRelevance(classifier()).attribute(inputs, 1)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "picks 3 numbers"),
        (3, "out of range"),
        ("positive", "a str"),
        (1.0, "a float"),
        (True, "a bool"),
        ([0, 1, 2], "3 entries for 2 examples"),
        (torch.tensor([0.0, 1.0]), "whole numbers"),
        ((0, 1), "out of range"),
        (Contrast(0, 5), "out of range"),
    ],
)
def test_targets(target, message):
    model = classifier()
    with pytest.raises(TargetError, match=message):
        ConservativeRelevance(model).attribute(X, target)
    with pytest.raises(TargetError, match=message):
        LayerRelevance(model, model[0]).attribute(X, target)


def test_rules():
    with pytest.raises(ArgumentError, match=r"rules='conservativ'.*Did you mean"):
        ConservativeRelevance(classifier(), "conservativ")
    with pytest.raises(ArgumentError, match="rules is a int"):
        ConservativeRelevance(classifier(), 3).attribute(X, 1)
    with pytest.raises(ArgumentError, match="matches no module"):
        ConservativeRelevance(classifier(), overrides={"x.*": None}).attribute(X, 1)


def test_a_model_of_which_a_part_is_instrumented():
    model = classifier()
    with instrument(model[0]):
        with pytest.raises(AlreadyInstrumentedError, match="only a part"):
            ConservativeRelevance(model).attribute(X, 1)
    assert ConservativeRelevance(model).attribute(X, 1).any()


def test_states_in_which_nothing_can_be_recorded():
    model = classifier()
    with torch.inference_mode(), pytest.raises(InferenceModeError, match="no_grad"):
        ConservativeRelevance(model).attribute(X, 1)
    with pytest.raises(CompiledModelError):
        ConservativeRelevance(torch.compile(model)).attribute(X, 1)


def test_nan():
    model = classifier()
    model[2].weight.data[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="NaN or infinity stands in the explained"):
        ConservativeRelevance(model).attribute(X, 1)
    with pytest.raises(NonFiniteError):
        LayerRelevance(model, model[0]).attribute(X, 1)
    with pytest.raises(NonFiniteError, match="relevance"):
        NeuronRelevance(model, model[2]).attribute(X, 0)


def test_deltas_that_mean_nothing():
    model = classifier()
    method = NeuronRelevance(model, model[0])
    found = method.attribute(X, 1)
    with pytest.raises(ArgumentError, match="no convergence delta"):
        method.compute_convergence_delta(found, 0, X, target=1)
    with pytest.raises(ArgumentError, match="does not start with the 2 examples"):
        ConservativeRelevance(model).compute_convergence_delta(X[0], 0, X, target=1)


def test_models_that_write_nothing():
    for model in (hugging_face("bert"), nn.Linear(2, 2)):
        with pytest.raises(UnsupportedModelError):
            LLMRelevance(model, tokenizer())
    model = hugging_face("bert")
    layer = LayerRelevance(model, model.get_input_embeddings())
    with pytest.raises(UnsupportedModelError, match="language-model head"):
        LLMRelevance(layer, tokenizer())

    class Silent(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.Embedding(11, 4), nn.Linear(4, 3)

        def forward(self, ids):
            return self.head(self.table(ids).mean(1))

    model = Silent()
    method = LLMRelevance(LayerRelevance(model, model.table), tokenizer())
    with pytest.raises(UnsupportedModelError, match=r"have shape \(1, 3\)"):
        method.attribute(TextTokenInput("the cat", tokenizer()), "dog")


def test_methods_that_llm_relevance_cannot_take():
    model, names = writer()
    embedding = model.get_input_embeddings()
    for method, message in (
        (LayerIntegratedGradients(model, embedding), "a LayerIntegratedGradients"),
        (LayerRelevance(model.forward, embedding), None),
        (LayerRelevance(model.generate, embedding), "on a method"),
        (LayerRelevance(model, [embedding, model.model.norm]), "several layers"),
    ):
        if message is None:  # a model's forward is the model
            assert LLMRelevance(method, names).model is model
            continue
        with pytest.raises(ArgumentError, match=message):
            LLMRelevance(method, names)


@pytest.mark.parametrize(
    ("contrast", "message"),
    [
        ("", "no token in it"),
        (99, "contrast=99 is out of range"),
        (["cat", "mat", "dog"], "contrast has 3 entries for 2"),
        (1.5, "contrast=1.5 is a float"),
    ],
)
def test_contrasts(contrast, message):
    model, names = writer()
    method = LLMRelevance(model, names)
    with pytest.raises(TargetError, match=message):
        method.attribute(TextTokenInput("the cat", names), "a dog", contrast=contrast)


def test_texts():
    model, names = writer("gpt2")
    method = LLMRelevance(model, names)
    with pytest.raises(TextError, match="20 tokens, but the model has 16 positions"):
        method.attribute(TextTokenInput("cat " * 20, names), "dog")
    with pytest.raises(TextError, match="17 tokens"):
        method.attribute(TextTokenInput("cat " * 15, names), "dog dog dog")
    with pytest.raises(TextError, match="no token in it"):
        method.attribute(TextTokenInput("cat", names), "")
    with pytest.raises(ArgumentError, match="inp is a str"):
        method.attribute("the cat", "dog")


def test_a_tokenizer_that_does_not_match():
    model, names = writer()
    names.add_tokens(["unheard"])
    method = LLMRelevance(model, names)
    with pytest.raises(ArgumentError, match="use the tokenizer it was trained with"):
        method.attribute(TextTokenInput("the unheard", names), "dog")
    with pytest.raises(ArgumentError, match="target holds the token ids 11 to 11"):
        method.attribute(TextTokenInput("the cat", names), "unheard")


def test_templates_that_do_not_show_where_values_stand():
    model, names = writer()
    method = LLMRelevance(model, names)
    shouting = TextTemplateInput(lambda a: f"the {a[:1]}at", ["cat"])
    with pytest.raises(ArgumentError, match="changes its values"):
        method.attribute(shouting, "dog")


def test_layers_that_captum_cannot_read():
    model, ids = hugging_face("bert"), tokens(1, 3)
    attention = model.bert.encoder.layer[0].attention  # returns (tensor, None)
    for layer, at_input, message in (
        (attention, False, "has a NoneType there"),
        (model.bert.embeddings.word_embeddings, True, "has a Tensor there"),
        (model.bert.embeddings, True, "has a NoneType there"),
        ([model.classifier, nn.Module()], False, "is no module of"),
    ):
        with pytest.raises(ArgumentError, match=message):
            LayerRelevance(model, layer).attribute(ids, 1, None, at_input)
    gate = nn.Sequential(nn.Identity(), attention)
    with pytest.raises(ArgumentError, match="has a NoneType there"):
        NeuronRelevance(gate, attention).attribute(noise(1, 3, 8).float(), 1)
    model.spare = nn.Linear(2, 2)
    with pytest.raises(ArgumentError, match="did not run"):
        LayerRelevance(model, [model.classifier, model.spare]).attribute(ids, 1)
