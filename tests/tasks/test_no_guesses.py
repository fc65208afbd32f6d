"""Situations in which another question than the one asked would be easy to answer."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    ElectraConfig,
    ElectraForPreTraining,
)

from lrp_hooks import ArgumentError, TargetError, compare, explain
from lrp_hooks.sentiment import sentiment_model
from tiny_bert import tiny_bert

MODEL, TOKENIZER = sentiment_model()
TEXT = "the film is a delight"
PAIR = ("who is it ?", TEXT)


class Wrapped(nn.Module):
    """A module around a model, which hands on some of its output."""

    def __init__(self, inner, part, named=True):
        super().__init__()
        self.inner, self.part = inner, part
        if named:
            self.config = inner.config

    def forward(self, input_ids, attention_mask=None):
        return self.part(self.inner(input_ids, attention_mask=attention_mask))


def test_a_batch_without_types_is_answered_from_its_second_text():
    reader = tiny_bert(BertForQuestionAnswering)
    batch = TOKENIZER(*PAIR, return_tensors="pt")
    assert "token_type_ids" not in batch
    found = explain(reader, batch, tokenizer=TOKENIZER)
    as_text = explain(reader, PAIR, tokenizer=TOKENIZER)
    assert found.targets == as_text.targets
    assert torch.equal(found.scores, as_text.scores)


@pytest.mark.parametrize("named", [True, False])
def test_a_wrapped_reader_is_a_reader(named):
    reader = Wrapped(tiny_bert(BertForQuestionAnswering), lambda output: output, named)
    found = explain(reader, PAIR, tokenizer=TOKENIZER)
    assert found.meta["task"] == "question answering"


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("kind", "part"),
    [
        (BertModel, lambda output: output.last_hidden_state),
        (BertForMaskedLM, lambda output: output.logits),
    ],
)
def test_what_a_wrapper_hands_on_is_no_class(kind, part, named):
    with pytest.raises(TargetError, match="pass target=a function"):
        explain(Wrapped(tiny_bert(kind), part, named), TEXT, tokenizer=TOKENIZER)


@pytest.mark.parametrize("target", [None, 0])
def test_a_number_for_each_token_is_no_class(target):
    config = ElectraConfig(
        vocab_size=6000, hidden_size=16, num_hidden_layers=1, embedding_size=16
    )
    judge = ElectraForPreTraining(config).eval()
    with pytest.raises(TargetError, match="pass target=a function"):
        explain(judge, TEXT, tokenizer=TOKENIZER, target=target)


def test_a_number_has_the_name_that_the_model_gives_it():
    names = {0: "O", 1: "PER", 2: "LOC"}
    tagger = tiny_bert(BertForTokenClassification, num_labels=3)
    tagger.config.id2label, tagger.config.label2id = names, {"PER": 2, "LOC": 1}
    found = explain(tagger, TEXT, tokenizer=TOKENIZER, target=(2, "PER"))
    assert found.targets == ["PER at 2 (film)"]
    with torch.no_grad():
        logits = tagger(**TOKENIZER(TEXT, return_tensors="pt")).logits
    assert found.output.item() == pytest.approx(logits[0, 2, 1].item())
    assert not explain(tagger, TEXT, tokenizer=TOKENIZER).targets[0].startswith("O ")


def test_labels_by_strings_and_arrays():
    model = tiny_bert(BertForSequenceClassification, num_labels=2)
    model.config.id2label = {0: "NEG", 1: "POS"}
    model.config.label2id = {"NEG": "neg", "POS": "pos"}
    texts = [TEXT, "dull"]
    found = explain(model, texts, "lrp", TOKENIZER, target=np.array(["POS", "NEG"]))
    assert found.targets == ["POS", "NEG"]


def test_a_part_of_a_word_is_not_the_word():
    tagger = tiny_bert(BertForTokenClassification, num_labels=2)
    pieces = TOKENIZER.tokenize("unfilmable film")
    assert pieces[-1] == "film" and len(pieces) > 2
    found = explain(tagger, "unfilmable film", "lrp", TOKENIZER, target=("film", 1))
    assert found.targets == [f"LABEL_1 at {len(pieces)} (film)"]
    with pytest.raises(TargetError, match="is not in it"):
        explain(tagger, "unfilmable", tokenizer=TOKENIZER, target=("film", 1))


def test_masked_tokens_by_arrays():
    filler = tiny_bert(BertForMaskedLM)
    texts = ["a [MASK] film", "the [MASK]"]
    found = explain(filler, texts, "lrp", TOKENIZER, target=np.array([7, 8]))
    assert [name.split()[-1] for name in found.targets] == ["2", "2"]


def test_padding_is_no_place():
    tagger = tiny_bert(BertForTokenClassification, num_labels=2)
    batch = {
        "input_ids": torch.tensor([[0, 0, 2, 7, 3], [2, 7, 8, 9, 3]]),
        "attention_mask": torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]),
    }
    with pytest.raises(TargetError, match="which is padding"):
        explain(tagger, batch, tokenizer=TOKENIZER, target=(0, 1))


def test_what_a_model_was_not_made_for_is_said():
    with pytest.raises(ArgumentError, match="does not choose"):
        explain(MODEL, ("the film", ["a", "b"]), tokenizer=TOKENIZER)


def test_comparison_of_targets_alone_asks_for_no_other():
    encoder = tiny_bert(BertModel)
    found = compare(
        encoder,
        TEXT,
        {
            str(unit): {
                "method": "lrp",
                "target": lambda output, unit=unit: output.last_hidden_state[
                    :, 0, unit
                ],
            }
            for unit in (1, 2)
        },
        TOKENIZER,
    )
    assert list(found.explanations) == ["1", "2"]
