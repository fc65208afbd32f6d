"""Ablations: the log-probabilities of texts that were made by hand."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso

from generation_models import language_model, word_tokenizer
from lrp_hooks import explain_answer
from lrp_hooks.errors import TextError

SOURCES = ["one two", "Paris is a", "three b"]
PROMPT = "the one two capital Paris is a of three b do"
LEFT = {0: "the  capital Paris is a of three b do"}
ANSWER = " London c"


def log_probability(model, text):
    tokenizer = word_tokenizer()
    prompt, answer = (tokenizer(t).input_ids for t in (text, ANSWER))
    with torch.no_grad():
        logs = model(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(1)
    start = len(prompt) - 1
    return sum(float(logs[start + n, token]) for n, token in enumerate(answer))


def without(kept):
    text = PROMPT
    for source, stays in zip(SOURCES, kept, strict=True):
        text = text if stays else text.replace(source, "")
    return text


def explained(model, **options):
    return explain_answer(
        *(model, word_tokenizer(), PROMPT, ANSWER),
        sources=SOURCES,
        spans="all",
        **options,
    )


@pytest.mark.parametrize("shape", ["Llama", "GPT2"])
def test_leaving_out_is_the_loss_without_a_source(shape):
    model = language_model(shape)
    found = explained(model, method="leave_one_out")
    whole = log_probability(model, PROMPT)
    lost = [
        whole - log_probability(model, without([n != s for n in range(3)]))
        for s in range(3)
    ]
    assert found.scores[0].tolist() == pytest.approx(lost)
    assert found.output.tolist() == pytest.approx([whole])
    assert found.meta["calls"] == 4
    assert found.ledger is None
    assert found.token_scores is None


def test_logits_are_summed_where_logits_are_asked_for():
    model = language_model()
    by_logit = explained(model, method="leave_one_out", target="logit")
    by_relevance = explained(model, target="logit")
    torch.testing.assert_close(by_logit.output, by_relevance.output)


def test_ablation_is_a_lasso_on_what_was_left_out():
    model = language_model()
    found = explained(model, method="ablation", calls=20, seed=3)
    kept = np.random.default_rng(3).random((20, 3)) < 0.5
    truth = [log_probability(model, without(row)) / 2 for row in kept]
    spread = kept.std(0)
    fit = Lasso(alpha=0.01).fit((kept - kept.mean(0)) / spread, truth)
    assert found.scores[0].tolist() == pytest.approx(list(fit.coef_ / spread * 2))
    assert found.meta["calls"] == 21
    predicted = found.meta["intercepts"][0] + kept @ found.scores[0].numpy()
    assert predicted.mean() == pytest.approx(2 * np.mean(truth))


def test_nothing_before_the_answer_is_refused():
    model = language_model()
    with pytest.raises(TextError, match="nothing of the prompt is left"):
        explain_answer(
            *(model, word_tokenizer(), "a b", ANSWER), method="leave_one_out"
        )
