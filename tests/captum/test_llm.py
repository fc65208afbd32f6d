"""LLMRelevance: what a prompt contributes to the logit of each token written."""

import matplotlib
import pytest
import torch
from captum.attr import (
    LLMAttributionResult,
    LLMGradientAttribution,
    TextTemplateInput,
    TextTokenInput,
)
from torch.testing import assert_close

from captum_models import writer
from folders import SHARED, needs_shared
from lrp_hooks import Contrast, instrument
from lrp_hooks.captum import LayerRelevance, LLMRelevance
from lrp_hooks.texts.loading import load_folder

TEXT = "the cat sat on"
GREEDY = {"max_new_tokens": 3, "do_sample": False}


def _row(model, ids, target):
    with instrument(model) as lrp:
        return lrp.attribute({"input_ids": ids}, target=target)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("inside", [True, False])
def test_rows_explain_raw_logits_of_prefixes(family, inside):
    model, tokenizer = writer(family)
    inp = TextTokenInput(TEXT, tokenizer)
    method = LLMRelevance(model, tokenizer)
    assert isinstance(method, LLMGradientAttribution)
    assert method.get_name() == "LLM Relevance"
    if inside:
        with instrument(model), torch.no_grad():
            found = method.attribute(inp, "a mat home")
    else:
        found = method.attribute(inp, "a mat home")
    assert isinstance(found, LLMAttributionResult)
    assert found.output_tokens == ["a", "mat", "home"]
    assert found.input_tokens == TEXT.split()
    ids = inp.inp_tensor
    for row, token in zip(found.token_attr, (5, 6, 10), strict=True):
        want = _row(model, ids, token)
        assert torch.equal(row, want.scores[0, :4])
        ids = torch.cat([ids, torch.tensor([[token]])], 1)
    assert_close(found.seq_attr, found.token_attr.sum(0))
    assert not found.token_attr.requires_grad


def test_relevance_of_all_tokens_is_the_logit():
    model, tokenizer = writer("llama")  # no biases, and positions only turn
    inp = TextTokenInput(TEXT, tokenizer)
    found = LLMRelevance(model, tokenizer).attribute(inp, "dog")
    logit = model(inp.inp_tensor).logits[0, -1, 7]
    assert_close(found.token_attr.sum(), logit.detach())


def test_the_form_of_captum():
    model, tokenizer = writer("gpt2")
    layer = LayerRelevance(model, model.transformer.drop, rules="attnlrp")
    inp = TextTokenInput(TEXT, tokenizer)
    found = LLMRelevance(layer, tokenizer).attribute(inp, "dog")
    want = layer.attribute(inp.inp_tensor, (3, 7)).sum(-1)
    assert torch.equal(found.token_attr, want)
    assert layer.forward_func is model


def test_options_of_the_layer_hold_inside():
    model, tokenizer = writer("llama")
    layer = LayerRelevance(
        model, model.get_input_embeddings(), rules="cp-lrp", strict=True
    )
    inp = TextTokenInput(TEXT, tokenizer)
    found = LLMRelevance(layer, tokenizer).attribute(inp, "dog ran")
    with instrument(model, "cp-lrp") as lrp:
        want = lrp.attribute({"input_ids": inp.inp_tensor}, target=7).scores
    assert torch.equal(found.token_attr[:1], want)


@pytest.mark.parametrize("contrast", ["dog", 7, [7, "dog"], torch.tensor([7, 7])])
def test_contrasts(contrast):
    model, tokenizer = writer("gpt2")
    inp = TextTokenInput(TEXT, tokenizer)
    method = LLMRelevance(model, tokenizer)
    found = method.attribute(inp, "a mat", contrast=contrast).token_attr
    ids = inp.inp_tensor
    assert_close(found[:1], _row(model, ids, Contrast(5, 7)).scores)
    ids = torch.cat([ids, torch.tensor([[5]])], 1)
    assert_close(found[1:], _row(model, ids, Contrast(6, 7)).scores[:, :4])


def test_one_contrast_for_each_token():
    model, tokenizer = writer("gpt2")
    inp = TextTokenInput(TEXT, tokenizer)
    method = LLMRelevance(model, tokenizer)
    found = method.attribute(inp, "a mat", contrast=["the", "home"]).token_attr
    for i, (own, rival) in enumerate([("a", "the"), ("mat", "home")]):
        alone = method.attribute(inp, "a mat", contrast=rival).token_attr
        assert torch.equal(found[i], alone[i]) and own


def test_a_contrast_of_several_tokens_says_which_it_takes():
    model, tokenizer = writer("gpt2")
    inp = TextTokenInput(TEXT, tokenizer)
    method = LLMRelevance(model, tokenizer)
    with pytest.warns(UserWarning, match="'dog' .id 7., is compared with"):
        found = method.attribute(inp, "a", contrast="dog mat")
    want = method.attribute(inp, "a", contrast="dog")
    assert torch.equal(found.token_attr, want.token_attr)


def test_generated_responses_and_token_targets():
    model, tokenizer = writer("llama")
    inp = TextTokenInput(TEXT, tokenizer)
    method = LLMRelevance(model, tokenizer)
    found = method.attribute(inp, gen_args=GREEDY)
    written = model.generate(inp.inp_tensor, **GREEDY)[0, 4:]
    again = method.attribute(inp, written)
    assert len(found.token_attr) == len(written)
    assert torch.equal(found.token_attr, again.token_attr)


def test_skipped_tokens_are_left_out():
    model, tokenizer = writer("gpt2")
    method = LLMRelevance(model, tokenizer)
    whole = method.attribute(TextTokenInput(TEXT, tokenizer), "a mat").token_attr
    skipping = TextTokenInput(TEXT, tokenizer, skip_tokens=["cat"])
    found = method.attribute(skipping, "a mat")
    assert found.input_tokens == ["the", "sat", "on"]
    assert torch.equal(found.token_attr, whole[:, [0, 2, 3]])


TEMPLATE = "the {} sat on a {}"
VALUES = ["cat", "mat home"]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("function", [True, False])
def test_templates(named, function):
    model, tokenizer = writer("gpt2")
    template, values = TEMPLATE, VALUES
    if named:
        template = "the {a} sat on a {b}"
        values = dict(zip("ab", VALUES, strict=True))
    inp = TextTemplateInput(template.format if function else template, values)
    method = LLMRelevance(model, tokenizer)
    found = method.attribute(inp, "dog ran")
    tokens = TextTokenInput("the cat sat on a mat home", tokenizer)
    whole = method.attribute(tokens, "dog ran").token_attr
    want = torch.stack([whole[:, 1], whole[:, 5] + whole[:, 6]], 1)
    assert_close(found.token_attr, want)
    assert_close(found.seq_attr, want.sum(0))
    assert found.input_tokens == VALUES and found.inp is inp


def test_templates_with_groups_and_values_used_twice():
    model, tokenizer = writer("gpt2")
    method = LLMRelevance(model, tokenizer)
    tokens = TextTokenInput("the cat sat on the mat", tokenizer)
    whole = method.attribute(tokens, "dog").token_attr[0]
    twice = TextTemplateInput("{0} {1} sat on {0} mat", ["the", "cat"])
    found = method.attribute(twice, "dog").seq_attr
    assert_close(found, torch.stack([whole[0] + whole[4], whole[1]]))
    grouped = TextTemplateInput(
        "{} {} sat {} the mat", ["the", "cat", "on"], mask=[4, 9, 4]
    )
    found = method.attribute(grouped, "dog").seq_attr
    both = whole[0] + whole[3]
    assert_close(found, torch.stack([both, whole[1], both]))


def test_a_token_across_segments_is_shared_by_characters():
    model, tokenizer = writer("gpt2")
    method = LLMRelevance(model, tokenizer)
    inp = TextTemplateInput("the {}{} sat", ["c", "at"])
    found = method.attribute(inp, "dog").seq_attr
    tokens = TextTokenInput("the cat sat", tokenizer)
    whole = method.attribute(tokens, "dog").seq_attr
    assert_close(found, torch.stack([whole[1] / 3, whole[1] * 2 / 3]))


def test_results_can_be_plotted():
    matplotlib.use("Agg")
    model, tokenizer = writer()
    method = LLMRelevance(model, tokenizer)
    for inp in (TextTokenInput(TEXT, tokenizer), TextTemplateInput(TEMPLATE, VALUES)):
        found = method.attribute(inp, "dog ran")
        figure, axes = found.plot_token_attr()
        assert len(axes.get_xticklabels()) == len(found.input_tokens)
        figure, axes = found.plot_seq_attr()
        assert axes.has_data()
        matplotlib.pyplot.close("all")
        assert list(found.seq_attr_dict) == found.input_tokens


@needs_shared
def test_a_model_that_writes_stories():
    path = SHARED / "models" / "stories260k-llama"
    model, tokenizer = load_folder(path)
    inp = TextTokenInput("Once upon a time, there was a little", tokenizer)
    method = LLMRelevance(model, tokenizer)
    found = method.attribute(inp, gen_args=GREEDY)
    assert "".join(found.output_tokens) == "girl"
    first = model(inp.inp_tensor).logits[0, -1].detach()
    # No biases and no position embeddings: the prompt has all of the logit.
    assert_close(found.token_attr[0].sum(), first.max(), rtol=1e-5, atol=1e-5)
    against = method.attribute(inp, first.argmax()[None], contrast=int(first.argmin()))
    gap = first.max() - first.min()
    assert_close(against.seq_attr.sum(), gap, rtol=1e-5, atol=1e-5)
    assert found.token_attr[0].argmax() == len(inp.values) - 1  # "little"
    pieces = TextTemplateInput("Once upon a time, there was a {} {}", ["little", "dog"])
    told = method.attribute(pieces, " named")
    assert told.token_attr.shape[1] == 2 and told.seq_attr.isfinite().all()
