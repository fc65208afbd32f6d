"""Models that grade: a regression's output is no probability."""

import pytest
import torch
from transformers import BertForSequenceClassification

from lrp_hooks import ArgumentError, explain, faithfulness
from lrp_hooks.faithfulness import evaluate
from lrp_hooks.sentiment import sentiment_model
from tiny_bert import tiny_bert

_, TOKENIZER = sentiment_model()
IDS = torch.tensor([[2, 7, 8, 9, 10, 11, 3]])
MASK = 4


def grader(**settings):
    model = tiny_bert(BertForSequenceClassification, **settings)
    model.classifier.bias.data.fill_(30.0)  # grades of 0 to 100
    return model


@pytest.fixture
def scores():
    return torch.tensor([[0.0, 5, 4, 3, 2, 1, 0]])


@pytest.mark.parametrize("metric", ["aopc", "comprehensiveness", "deletion"])
def test_a_regression_is_read_as_the_number_that_it_is(scores, metric):
    model = grader(num_labels=1, problem_type="regression")
    curve = getattr(faithfulness, metric)(
        model, IDS, scores, 0, MASK, special_ids=[2, 3]
    )
    for fraction, value in zip(
        curve.fractions.tolist(), curve.values[0].tolist(), strict=True
    ):
        count = round(fraction * 5 + (0.499 if metric == "comprehensiveness" else 0))
        count = min(5, int(fraction * 5) if metric != "comprehensiveness" else count)
        taken = IDS.clone()
        taken[0, 1 : 1 + count] = MASK
        with torch.no_grad():
            whole, left = model(IDS).logits.item(), model(taken).logits.item()
        wanted = left if metric == "deletion" else whole - left
        assert value == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("metric", ["accuracy", "log_odds"])
def test_what_reads_a_probability_is_refused(scores, metric):
    model = grader(num_labels=1, problem_type="regression")
    with pytest.raises(ArgumentError, match="reads a probability"):
        getattr(faithfulness, metric)(model, IDS, scores, 0, MASK)


def test_an_evaluation_of_grades_leaves_those_out():
    model = grader(num_labels=1, problem_type="regression")
    found = evaluate(
        model, TOKENIZER, ["a good film", "a bad one"], methods=["lrp"], metrics=None
    )
    names = {entry["metric"] for entry in found.rows}
    assert "aopc" in names and not names & {"accuracy", "log_odds"}


@pytest.mark.parametrize(
    ("settings", "task"),
    [
        ({"num_labels": 3}, "classification"),
        (
            {"num_labels": 3, "problem_type": "multi_label_classification"},
            "classification by many labels",
        ),
        ({"num_labels": 1, "problem_type": "regression"}, "regression"),
        ({"num_labels": 1}, "one logit"),
    ],
)
def test_the_task_is_said(settings, task):
    assert explain(grader(**settings), IDS).meta["task"] == task
