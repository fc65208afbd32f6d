"""A share for query and key lies between the AH-rule and AttnLRP, and completes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lrp_hooks.rules import Attention
from torch.testing import assert_close
from transformers import BertForSequenceClassification

from lrp_hooks import RuleSet, explain, instrument
from shared_models import sentiment
from tiny_bert import tiny_bert

SHARED = RuleSet.named("conservative").override(attention=Attention(0.4))


def attributed(model, ids, rules):
    with instrument(model, rules) as lrp:
        return lrp.attribute(ids, target=1)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@given(seed=st.integers(0, 30), length=st.integers(1, 7))
def test_with_one_attention_it_lies_between(attention, seed, length):
    """Every path goes through one attention, whose parts the share weighs."""
    model = tiny_bert(
        BertForSequenceClassification, seed, attn_implementation=attention
    )
    ids = torch.randint(
        6000, (2, length), generator=torch.Generator().manual_seed(seed)
    )
    frozen, even, between = (
        attributed(model, ids, rules).values
        for rules in ("conservative", "attnlrp", SHARED)
    )
    # What goes by attention in the residual stream is the same in all three.
    assert_close(between, 0.2 * frozen + 0.8 * even)


@pytest.mark.parametrize("bias", ["site", "equal", "first", "abs"])
def test_completed_scores_sum_to_the_output(bias):
    model, tokenizer = sentiment()
    texts = ["a gripping, funny film with a weak ending", "not bad", "dull"]
    found = explain(model, texts, tokenizer=tokenizer, rules=SHARED)
    assert (found.ledger.error < 1e-6).all()
    assert_close(found.complete(bias).sum(1), found.output, rtol=1e-5, atol=1e-5)
    assert any("softmax" in name for name in found.ledger.sources)
