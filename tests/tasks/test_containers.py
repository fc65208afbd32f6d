"""Pairs in mappings and columns, and targets of examples that differ in kind."""

import pandas
import pytest
import torch
from transformers import (
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForTokenClassification,
    T5Config,
    T5ForConditionalGeneration,
)

from lrp_hooks import Contrast, TargetError, TextError, compare, explain, faithfulness
from lrp_hooks.errors import ArgumentError, LrpHooksWarning
from lrp_hooks.sentiment import sentiment_model
from tiny_bert import tiny_bert

MODEL, TOKENIZER = sentiment_model()
FIRST, SECOND = ["a fine film", "so dull"], ["dull", "not at all"]
PAIRS = list(zip(FIRST, SECOND, strict=True))


def explained(inputs, model=MODEL, **options):
    return explain(model, inputs, tokenizer=TOKENIZER, **options)


def test_a_mapping_is_read_by_its_keys_not_by_their_order():
    turned = explained({"text_pair": "dull", "text": "a fine film"})
    straight = explained(("a fine film", "dull"))
    assert turned.tokens == straight.tokens
    assert torch.equal(turned.scores, straight.scores)


@pytest.mark.parametrize(
    "inputs",
    [
        {"text": FIRST, "text_pair": SECOND},
        {"text_pair": pandas.Series(SECOND), "text": pandas.Series(FIRST, [7, 3])},
        {"text": pandas.Series(FIRST).to_numpy(), "text_pair": SECOND},
        [{"text_pair": b, "text": a} for a, b in PAIRS],
    ],
)
def test_columns_and_lists_of_pairs(inputs):
    found, straight = explained(inputs), explained(PAIRS)
    assert found.tokens == straight.tokens
    assert torch.equal(found.scores, straight.scores)


def test_mappings_that_are_no_pairs():
    with pytest.raises(TextError, match="2 'text' and 1 'text_pair'"):
        explained({"text": FIRST, "text_pair": ["one"]})
    with pytest.raises(TextError, match="the key 'label' beside 'text'"):
        explained({"text": "a", "label": 1})


@pytest.mark.parametrize(
    "targets", [[(4, 5), "end"], ["start", None], ["end", "start"], [None, (3, 3)]]
)
def test_parts_of_answers_may_differ_by_example(targets):
    model = tiny_bert(BertForQuestionAnswering)
    pairs = [("who", "a dull film"), ("who", "b c d")]
    both = explained(pairs, model, target=targets)
    for b, (pair, target) in enumerate(zip(pairs, targets, strict=True)):
        alone = explained(pair, model, target=target)
        torch.testing.assert_close(both.output[b], alone.output[0])
        own = both.scores[b, : alone.scores.shape[1]]
        torch.testing.assert_close(own, alone.scores[0])
    assert float(both.ledger.error.max()) < 1e-10


def test_a_text_alone_for_a_model_that_chooses():
    model = tiny_bert(BertForMultipleChoice)
    with pytest.raises(TextError, match=r"Pass \(prompt, \[choice, choice"):
        explained("a film", model)


def test_a_name_without_a_tokenizer_asks_for_an_id():
    ids = TOKENIZER("a [MASK] film", return_tensors="pt")
    with pytest.raises(TargetError, match="no tokenizer to tell its id"):
        explain(tiny_bert(BertForMaskedLM), ids, target=(2, "good"))


def test_an_evaluation_that_finds_nothing_is_refused():
    one = tiny_bert(type(MODEL), num_labels=1, problem_type="regression")
    with pytest.raises(ArgumentError, match="none of the methods works.*probability"):
        faithfulness.evaluate(
            *(one, TOKENIZER, FIRST),
            labels=[0, 0],
            methods=["lrp"],
            metrics=["accuracy"],
        )


def test_a_method_that_fails_beside_others_is_told():
    model = tiny_bert(type(MODEL), _attn_implementation="eager")
    few = {"method": "slalom", "n_samples": 1}
    with pytest.warns(LrpHooksWarning, match="few failed"):
        found = faithfulness.evaluate(
            *(model, TOKENIZER, FIRST),
            methods={"lrp": {"method": "lrp"}, "few": few},
            metrics=["aopc"],
        )
    assert list(found.summary()) == ["lrp"]


@pytest.mark.parametrize("tokenizer", [TOKENIZER, None])
def test_what_is_no_model_or_has_no_tokenizer(tokenizer):
    pipeline = type("TextClassificationPipeline", (), {"model": MODEL})()
    with pytest.raises(ArgumentError, match="pass pipe.model and pipe.tokenizer"):
        faithfulness.evaluate(pipeline, tokenizer, FIRST, methods=["lrp"])


def test_a_missing_tokenizer_is_told():
    with pytest.raises(ArgumentError, match="tokenizer is a NoneType"):
        faithfulness.evaluate(MODEL, None, FIRST, methods=["lrp"])


def test_of_several_numbers_one_must_be_named():
    model = tiny_bert(type(MODEL), num_labels=3, problem_type="regression")
    with pytest.raises(TargetError, match="returns 3 numbers.*from 0 to 2"):
        explained("a film", model)
    assert explained("a film", model, target=2).meta["task"] == "regression"
    one = tiny_bert(type(MODEL), num_labels=1, problem_type="regression")
    assert explained("a film", one).output.shape == (1,)


@pytest.mark.parametrize(("word", "place"), [(":", 2), ("[CLS]", 0), ("is", 1)])
def test_a_token_that_is_no_word_may_be_named(word, place):
    model = tiny_bert(BertForTokenClassification, num_labels=2)
    named = explained("is: a", model, target=(word, 1))
    torch.testing.assert_close(
        named.scores, explained("is: a", model, target=(place, 1)).scores
    )


def test_compare_takes_what_a_decoder_has_said():
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    config = T5Config(vocab_size=6000, decoder_start_token_id=0, **sizes)
    model = T5ForConditionalGeneration(config).eval()
    methods = ("lrp", "gradient_x_input")
    found = compare(model, "a film", methods, TOKENIZER, 7, decoder="the")
    one = explained({"text": "a film", "decoder": "the"}, model, target=7)
    for each in found.explanations.values():
        torch.testing.assert_close(each.output, one.output)


def test_targets_of_taggers_that_are_none():
    model = tiny_bert(BertForTokenClassification, num_labels=2)
    with pytest.raises(TargetError, match="a Contrast at a token; pass a function"):
        explained("a film", model, target=(1, Contrast(0, 1)))
    with pytest.raises(TargetError, match="'entities' among others"):
        explained(["a film", "b c"], model, target=["entities", (1, 1)])
