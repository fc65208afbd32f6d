"""The next token by its name: as a vocabulary writes it, as a text does, by its id."""

import pytest
import torch
from transformers import BertLMHeadModel

from lrp_hooks import Contrast, TargetError, explain
from lrp_hooks.sentiment import sentiment_model
from lrp_hooks.tasks import token_named
from tiny_bert import tiny_bert
from tokenizer_families import byte_level

_, TOKENIZER = sentiment_model()
TEXT = "the film is a"
GOOD, BAD = TOKENIZER.convert_tokens_to_ids(["good", "bad"])


@pytest.fixture(scope="module")
def writer():
    return tiny_bert(BertLMHeadModel, is_decoder=True)


@pytest.mark.parametrize("target", ["good", "Good", ["good"], str(GOOD), GOOD])
def test_a_token_by_its_name(writer, target):
    found = explain(writer, TEXT, "lrp", TOKENIZER, target)
    with torch.no_grad():
        logits = writer(**TOKENIZER(TEXT, return_tensors="pt")).logits[0, -1]
    assert found.output.item() == pytest.approx(logits[GOOD].item())
    assert found.targets == ["good"]


def test_one_name_rather_than_another(writer):
    found = explain(writer, TEXT, "lrp", TOKENIZER, Contrast("good", "bad"))
    wanted = explain(writer, TEXT, "lrp", TOKENIZER, Contrast(GOOD, BAD))
    assert found.targets == wanted.targets == ["good rather than bad"]
    assert torch.equal(found.scores, wanted.scores)


@pytest.mark.parametrize("target", ["good film", " ", "9" * 30, "9" * 5000])
def test_no_single_token_is_refused(writer, target):
    with pytest.raises(TargetError, match="is no single known token"):
        explain(writer, TEXT, "lrp", TOKENIZER, target)


def test_without_a_tokenizer_a_name_is_nothing(writer):
    with pytest.raises(TargetError, match="Pass the token's id"):
        explain(writer, TOKENIZER(TEXT, return_tensors="pt"), target="good")


def test_a_word_has_the_space_before_it_where_tokens_have_spaces():
    tokenizer = byte_level(size=1000)
    vocabulary = tokenizer.get_vocab()
    spaced = next(t for t in vocabulary if t[0] == "Ġ" and t[1:] in vocabulary)
    assert token_named(tokenizer, spaced[1:]) == vocabulary[spaced]
    assert token_named(tokenizer, spaced) == vocabulary[spaced]
