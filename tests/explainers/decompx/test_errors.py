"""Bad input: what is refused, and what the message says."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import lrp_hooks
from decompx_models import batch, fresh, tiny
from lrp_hooks import ArgumentError, InferenceModeError, LrpHooksError, instrument
from lrp_hooks.explainers import DecompX
from lrp_hooks.explainers.decompx import forward
from small_models import convolution
from strategies import noise

BOTH = pytest.mark.parametrize("rule", ["equal", "absdot"])
CHOICES = {
    "bias": ("none", "equal", "first", "token", "absdot", "abssim", "norm"),
    "activation": ("secant", "tangent"),
    "value_bias": ("follow", "distribute"),
    "stages": (
        *("attention", "res1", "ln1", "ffn", "res2", "encoder"),
        *("aggregated", "pooler"),
    ),
}


@pytest.mark.parametrize("option", CHOICES)
@pytest.mark.parametrize("value", ["dot", "", 3, None])
def test_an_unknown_choice_lists_the_known_ones(option, value):
    with pytest.raises(ArgumentError) as caught:
        DecompX(tiny("Bert"), **{option: value})
    message = str(caught.value)
    assert message.startswith(f"{option}=")
    assert repr(value) in message
    assert all(repr(choice) in message for choice in CHOICES[option])


def test_one_unknown_stage_among_known_ones():
    with pytest.raises(ArgumentError, match=r"stages='LN1'.*'ln1'"):
        DecompX(tiny("Bert"), stages=("encoder", "LN1"))


def test_explain_lists_the_options():
    with pytest.raises(ArgumentError, match=r"biases=.*options are bias, activation"):
        lrp_hooks.explain(tiny("Bert"), batch(), method="decompx", biases="equal")


@pytest.mark.parametrize("chunk", [0, -1, 1.5, "8"])
def test_a_chunk_is_a_number_of_tokens(chunk):
    with pytest.raises(ArgumentError, match="chunk="):
        DecompX(tiny("Bert"), "absdot", chunk=chunk)


@BOTH
def test_a_model_is_a_module(rule):
    with pytest.raises(ArgumentError, match="Module"):
        DecompX(lambda ids: ids, rule)(torch.tensor([[1, 2]]))


@pytest.mark.parametrize("target", [0, "all", "LABEL_1"])
def test_without_a_classifier_there_is_no_target(target):
    explainer = DecompX(tiny("Bert"), "absdot", include_classifier=False)
    with pytest.raises(ArgumentError, match=r"target=.*include_classifier=False"):
        explainer(batch(), target)


def test_every_stage_that_was_asked_for_is_there_or_refused():
    explainer = DecompX(tiny("Bert"), stages=("ffn", "res2"), include_ffn=False)
    try:
        found = explainer(batch(), 0)
    except ArgumentError:
        return
    assert list(found.layers) == ["ffn", "res2"]
    assert (found.layers["ffn"] == 0).all()


SAYS = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"


@pytest.mark.parametrize("error", [RuntimeError(SAYS), MemoryError()])
@pytest.mark.parametrize("chunk", [None, 3])
def test_out_of_memory_says_what_to_do(monkeypatch, error, chunk):
    def decompose(*_):
        raise error

    monkeypatch.setattr(forward, "decompose", decompose)
    with pytest.raises(ArgumentError) as caught:
        DecompX(tiny("Bert"), "absdot", chunk=chunk)(batch(), 0)
    message = str(caught.value)
    for word in ("decomposing 6 tokens", "MiB", "bias='equal'", "chunk", "shorter"):
        assert word in message
    assert f"fewer than {chunk or 6} tokens" in message
    assert caught.value.__cause__ is error


def test_a_chunk_of_one_token_cannot_be_smaller(monkeypatch):
    def decompose(*_):
        raise MemoryError

    monkeypatch.setattr(forward, "decompose", decompose)
    with pytest.raises(ArgumentError) as caught:
        DecompX(tiny("Bert"), "absdot", chunk=1)(batch(), 0)
    assert "fewer than 1 " not in str(caught.value)


def test_other_runtime_errors_stay(monkeypatch):
    def decompose(*_):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(forward, "decompose", decompose)
    with pytest.raises(RuntimeError, match="^shapes do not fit$"):
        DecompX(tiny("Bert"), "absdot")(batch(), 0)


@pytest.mark.parametrize("rule", ["equal", "token", "absdot"])
def test_images_without_attention(rule):
    with pytest.raises(LrpHooksError) as caught:
        DecompX(convolution(torch.float64), rule)(noise(2, 2, 4, 4), 0)
    assert isinstance(caught.value, ValueError)
    if rule != "absdot":
        assert "no attention" in str(caught.value)
        assert "'lrp'" in str(caught.value)


@BOTH
def test_images_of_a_model_that_averages_over_a_list_of_dimensions(rule):
    with pytest.raises(LrpHooksError):
        DecompX(tiny("ConvNext"), rule)(batch("ConvNext"), 0)


def test_vectors_without_tokens():
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double()
    for rule in ("absdot", "abssim"):
        with pytest.raises(LrpHooksError):
            DecompX(model, rule)(noise(3, 4), 0)


@BOTH
def test_a_text_needs_a_tokenizer(rule):
    with pytest.raises(ArgumentError, match="tokenizer"):
        DecompX(tiny("Bert"), rule)("a text")


@BOTH
def test_inference_mode(rule):
    with torch.inference_mode(), pytest.raises(InferenceModeError, match="no_grad"):
        DecompX(tiny("Bert"), rule)(batch(), 0)


@BOTH
def test_an_instrumented_model(rule):
    model = fresh("Bert")
    with instrument(model):
        with pytest.raises(lrp_hooks.AlreadyInstrumentedError):
            DecompX(model, rule)(batch(), 0)
    assert DecompX(model, rule)(batch(), 0).scores.shape == (2, 6)


@BOTH
def test_a_failing_model_is_left_clean(rule):
    model = fresh("Bert")

    def fail(*_):
        raise ZeroDivisionError

    handle = model.classifier.register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        DecompX(model, rule)(batch(), 0)
    handle.remove()
    right = DecompX(tiny("Bert"), rule)(batch(), 0)
    assert torch.equal(DecompX(model, rule)(batch(), 0).scores, right.scores)


def test_a_head_on_a_masked_token_says_to_pad_on_the_other_side():
    with pytest.raises(ArgumentError, match="padding_side"):
        DecompX(tiny("Bert"), "absdot")(batch(padding="left"), 0)
    with pytest.raises(ArgumentError, match="padding_side"):
        DecompX(tiny("Bert"))(batch(padding="left"), 0)


@pytest.mark.parametrize("rule", ["equal", "first", "token", "absdot"])
def test_an_example_of_padding_alone_is_no_nan(rule):
    inputs = batch()
    inputs["attention_mask"][1] = 0
    try:
        found = DecompX(tiny("Bert"), rule)(inputs, 0)
    except LrpHooksError:
        return
    assert torch.isfinite(found.scores).all()


@BOTH
def test_padding_is_zero_where_the_mask_is_positional(rule):
    inputs = batch()
    given = (inputs["input_ids"], inputs["attention_mask"])
    found = DecompX(tiny("Bert"), rule)(given, 0)
    assert (found.scores[1, 4:] == 0).all()


def test_every_error_class_is_at_hand():
    assert issubclass(lrp_hooks.UnsupportedModelError, ValueError)


@pytest.mark.parametrize("bias", ["none", "equal", "first", "token", "absdot"])
@pytest.mark.parametrize("target", [1, "all"])
def test_a_head_that_takes_padding(bias, target):
    ids = torch.tensor([[0, 0, 7, 3, 11, 4]])
    hidden = {"input_ids": ids, "attention_mask": (ids != 0).long()}
    with pytest.raises(ArgumentError, match="token 0.*attention mask hides"):
        DecompX(tiny("Bert"), bias)(hidden, target)


@pytest.mark.parametrize("option", ["include_ffn", "include_classifier"])
@pytest.mark.parametrize("value", ["no", 0, None])
def test_a_flag_is_true_or_false(option, value):
    with pytest.raises(ArgumentError, match=f"{option}=.*True or False"):
        DecompX(tiny("Bert"), **{option: value})


@pytest.mark.parametrize("target", [0, "all"])
@pytest.mark.parametrize("family", ["Bert", "DistilBert"])
def test_what_is_left_out_on_purpose_is_no_failure(family, target):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DecompX(tiny(family), include_ffn=False)(batch(), target)


def test_a_label_that_is_not_known():
    found = DecompX(tiny("Bert"))(batch(), "all")
    with pytest.raises(ArgumentError, match="'positive'.*none is known"):
        found.of("positive")
