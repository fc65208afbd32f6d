"""Question answering, masked words, encoders: spans, places, and no guesses."""

import pytest
import torch
from transformers import (
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertModel,
)

from lrp_hooks import (
    ArgumentError,
    TargetError,
    TextError,
    compare,
    explain,
    instrument,
)
from lrp_hooks.sentiment import sentiment_model
from tiny_bert import tiny_bert

_, TOKENIZER = sentiment_model()
PAIR = ("who is it ?", "the film is a delight")


def best_span(model):
    """The best span of the context, by looking at each."""
    batch = TOKENIZER(*PAIR, return_tensors="pt")
    with torch.no_grad():
        output = model(**batch)
    parts = batch.sequence_ids(0)
    best = None
    for start in range(len(parts)):
        for end in range(start, len(parts)):
            if parts[start] == 1 == parts[end]:
                total = output.start_logits[0, start] + output.end_logits[0, end]
                if best is None or total > best[0]:
                    best = (total, start, end)
    return best


@pytest.mark.parametrize("seed", range(4))
def test_the_best_span_lies_in_the_context(seed):
    reader = tiny_bert(BertForQuestionAnswering, seed)
    total, start, end = best_span(reader)
    found = explain(reader, PAIR, tokenizer=TOKENIZER)
    assert found.output.item() == pytest.approx(total.item())
    words = PAIR[1].split()[start - 6 : end - 5]
    assert found.targets == [f"the answer {' '.join(words)!r}"]
    assert found.meta["task"] == "question answering"
    with instrument(reader) as lrp:
        wanted = lrp.attribute(
            dict(TOKENIZER(*PAIR, return_tensors="pt")),
            target=lambda o: o.start_logits[:, start] + o.end_logits[:, end],
        )
    assert torch.equal(found.scores, wanted.scores)


def test_the_ends_of_an_answer_alone():
    reader = tiny_bert(BertForQuestionAnswering)
    both, start, end = (
        explain(reader, PAIR, tokenizer=TOKENIZER, target=target).output.item()
        for target in (None, "start", "end")
    )
    assert both == pytest.approx(start + end)
    given = explain(reader, PAIR, tokenizer=TOKENIZER, target=(7, 8))
    assert given.targets == ["the answer 'film is'"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (5, "is no part of an answer"),
        ("middle", "is no part of an answer"),
        ((8, 7), "before it starts"),
        ((8, 70), "from 0 to"),
    ],
)
def test_no_position_is_taken_for_a_class(target, said):
    with pytest.raises(TargetError, match=said):
        explain(
            tiny_bert(BertForQuestionAnswering),
            PAIR,
            tokenizer=TOKENIZER,
            target=target,
        )


def test_a_masked_word_is_explained_at_its_mask():
    filler = tiny_bert(BertForMaskedLM)
    found = explain(filler, "a [MASK] film", tokenizer=TOKENIZER, target="film")
    word = TOKENIZER.convert_tokens_to_ids("film")
    with torch.no_grad():
        logits = filler(**TOKENIZER("a [MASK] film", return_tensors="pt")).logits[0, 2]
    assert found.output.item() == pytest.approx(logits[word].item())
    assert found.targets == ["film at 2"]
    likely = explain(filler, "a [MASK] film", tokenizer=TOKENIZER)
    assert likely.output.item() == pytest.approx(logits.max().item())


def test_masks_have_to_be_told_apart():
    filler = tiny_bert(BertForMaskedLM)
    with pytest.raises(TextError, match=r"has no \[MASK\]"):
        explain(filler, "a film", tokenizer=TOKENIZER)
    with pytest.raises(TargetError, match=r"2 \[MASK\], at the positions \[1, 2\]"):
        explain(filler, "[MASK] [MASK] film", tokenizer=TOKENIZER)
    found = explain(
        filler, "[MASK] [MASK] film", tokenizer=TOKENIZER, target=(2, "good")
    )
    assert found.targets == ["good at 2"]
    with pytest.raises(TargetError, match="no single known token"):
        explain(
            filler,
            "a [MASK]",
            tokenizer=TOKENIZER,
            target="unputdownable notwithstanding",
        )


@pytest.mark.parametrize("target", [None, 3])
def test_an_encoder_is_asked_what_to_explain(target):
    encoder = tiny_bert(BertModel)
    with pytest.raises(TargetError, match="pass target=a function"):
        explain(encoder, "a good film", tokenizer=TOKENIZER, target=target)
    found = explain(
        encoder,
        "a good film",
        tokenizer=TOKENIZER,
        target=lambda output: output.last_hidden_state[:, 0, 3],
    )
    assert found.ledger.error.item() < 1e-6


def test_comparison_asks_once_for_all_methods():
    reader = tiny_bert(BertForQuestionAnswering)
    found = compare(reader, PAIR, ("lrp", "gradient_x_input"), TOKENIZER)
    assert [cost.calls for cost in found.costs.values()] == [1, 1]
    total, _, _ = best_span(reader)
    for each in found.explanations.values():
        assert each.output.item() == pytest.approx(total.item())


@pytest.mark.parametrize("target", [None, lambda output: output.start_logits[:, 9]])
def test_slalom_does_not_explain_a_position_that_moves(target):
    with pytest.raises(ArgumentError, match="move"):
        explain(
            tiny_bert(BertForQuestionAnswering),
            PAIR,
            "slalom",
            TOKENIZER,
            target=target,
        )
