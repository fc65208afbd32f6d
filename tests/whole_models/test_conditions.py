"""The conditions real models run in: dtypes, masks, caches, checkpointing."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from condition_models import (
    COMPLETE,
    FAMILIES,
    assert_closed,
    explain,
    families,
    scalar,
)
from lrp_hooks import instrument
from small_models import hugging_face, logits
from strategies import noise, tokens

# Rounding in a cancelling sum is larger than one step of the dtype.
PRECISION = {torch.bfloat16: 0.05, torch.float16: 0.01, torch.float64: 1e-10}
attentions = pytest.mark.parametrize("attention", ["eager", "sdpa"])


@families
@pytest.mark.parametrize("rules", COMPLETE)
def test_inputs_embeds(family, rules):
    model, ids = hugging_face(family, torch.float64), tokens(2, 5)
    embeddings = model.get_input_embeddings()(ids).detach()
    found = explain(model, {"inputs_embeds": embeddings}, rules=rules)
    by_ids = explain(model, {"input_ids": ids}, rules=rules)
    assert_closed(found)
    assert_close(found.values, by_ids.values)
    assert_close(found.ledger.total, by_ids.ledger.total)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@attentions
@pytest.mark.parametrize("rules", COMPLETE)
def test_a_cache_changes_nothing(family, attention, rules):
    model = hugging_face(family, torch.float64, attention)
    runs = [
        explain(model, {"input_ids": tokens(2, 5), "use_cache": cache}, rules=rules)
        for cache in (True, False)
    ]
    # transformers takes eager softmaxes in float32, whatever the model's dtype.
    for found in runs:
        assert_closed(found, 1e-6 if attention == "eager" else 1e-10)
    assert_close(runs[0].values, runs[1].values)
    assert_close(runs[0].ledger.sources, runs[1].ledger.sources)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_filled_cache_is_a_constant_with_a_line_of_its_own_or_an_error(family):
    model, ids = hugging_face(family, torch.float64), tokens(1, 5)
    with torch.no_grad():
        past = model(ids[:, :3], use_cache=True).past_key_values
    inputs = {"input_ids": ids[:, 3:], "past_key_values": past}
    inputs["attention_mask"] = torch.ones_like(ids)
    found = explain(model, inputs)
    with torch.no_grad():
        assert_close(found.output, scalar(model(ids)))
    assert found.scores.shape == (1, 2)
    assert_closed(found)


def form(mask, kind, causal):
    """Write a mask ``[B, T]`` as transformers takes it: bool or additive."""
    if kind == "2-D":
        return mask
    length = mask.shape[1]
    seen = mask[:, None, None, :].bool().expand(-1, 1, length, -1)
    if causal:
        past = torch.ones(length, length, dtype=torch.bool).tril()
        seen = (seen & past) | torch.eye(length, dtype=torch.bool)
    return seen if kind == "bool" else torch.where(seen, 0.0, -1e9)


PADDED = [
    (family, attention, kind, left)
    for family in FAMILIES
    for attention in ("eager", "sdpa")
    for kind in ("2-D", "bool", "float")
    for left in (False, True)
    # BERT reads the first token, which is padding then; eager code adds its mask.
    if not (family == "bert" and left) and not (attention == "eager" and kind == "bool")
]


@pytest.mark.parametrize(("family", "attention", "kind", "left"), PADDED)
def test_padding_and_masks(family, attention, kind, left):
    model, ids = hugging_face(family, attention=attention), tokens(2, 5)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    mask = mask.flip(1) if left else mask
    inputs = {"input_ids": ids, "attention_mask": form(mask, kind, family != "bert")}
    inputs["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    last = [4, 4 if left else 2]

    def read(output):
        values = logits(output)
        return values[:, 1] if family == "bert" else values[[0, 1], last, 1]

    found = explain(model, inputs, read)
    assert_closed(found, 1e-5)
    assert (found.scores[mask == 0] == 0).all()
    for row in range(2):
        kept = mask[row] == 1
        single = explain(model, ids[row : row + 1, kept], lambda o: row_of(o, family))
        assert_close(found.scores[row, kept], single.scores[0], rtol=1e-4, atol=1e-6)


def row_of(output, family):
    return logits(output)[:, 1] if family == "bert" else logits(output)[:, -1, 1]


@attentions
def test_a_custom_float_mask(attention):
    model = hugging_face("bert", torch.float64, attention)
    bias = noise(2, 1, 5, 5)
    found = explain(model, {"input_ids": tokens(2, 5), "attention_mask": bias})
    assert_closed(found)
    free = explain(model, {"input_ids": tokens(2, 5)})
    assert (found.scores - free.scores).abs().max() > 1e-6


@families
@attentions
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rules", COMPLETE)
def test_half_precision(family, attention, dtype, rules):
    found = explain(hugging_face(family, dtype, attention), tokens(2, 5), rules=rules)
    assert found.values.dtype == dtype
    assert_closed(found, PRECISION[dtype])
    exact = explain(
        hugging_face(family, dtype, attention).double(), tokens(2, 5), rules=rules
    )
    gap = (found.scores.double() - exact.scores).abs().max()
    assert gap <= PRECISION[dtype] * exact.scores.abs().sum()


@families
@attentions
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rules", COMPLETE)
def test_autocast(family, attention, dtype, rules):
    model = hugging_face(family, torch.float32, attention)
    exact = explain(model, tokens(2, 5), rules=rules)
    with torch.autocast("cpu", dtype):
        with torch.no_grad():
            plain = scalar(model(tokens(2, 5)))
        found = explain(model, tokens(2, 5), rules=rules)
    assert_close(found.output, plain)
    assert_closed(found, PRECISION[dtype])
    gap = (found.scores - exact.scores).abs().max()
    assert gap <= PRECISION[dtype] * exact.scores.abs().sum()


def checkpointed(family):
    dropout = {
        "bert": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
        "gpt2": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
        "llama": (),
    }[family]
    model = hugging_face(family, torch.float64, **dict.fromkeys(dropout, 0.0))
    return model.train(), {} if family == "bert" else {"use_cache": False}


@families
@pytest.mark.parametrize("rules", COMPLETE)
def test_checkpointing_through_a_plain_forward_in_training(family, rules):
    model, cache = checkpointed(family)
    x = noise(2, 4, 8).requires_grad_()

    def pulled():
        return torch.autograd.grad(scalar(model(inputs_embeds=x, **cache)).sum(), x)[0]

    with instrument(model, rules) as lrp:
        found = lrp.attribute({"inputs_embeds": x.detach(), **cache}, scalar)
        plain = pulled()
        enable = model.gradient_checkpointing_enable  # its name before 5.2x
        getattr(model, "activation_checkpointing_enable", enable)()
        assert model.training
        assert_close(pulled(), plain)
    assert_close(plain * x.detach(), found.values)


@pytest.mark.parametrize("rules", COMPLETE)
def test_tied_weights(rules):
    model = hugging_face("llama", torch.float64, tie_word_embeddings=True)
    free = copy.deepcopy(model)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    free.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    runs = [explain(m, tokens(2, 5), rules=rules) for m in (model, free)]
    assert_closed(runs[0])
    assert_close(runs[0].values, runs[1].values)
    assert model.lm_head.weight is model.get_input_embeddings().weight
