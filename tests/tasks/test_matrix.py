"""Every task by every method: an explanation that can be shown and kept, or why not."""

import pytest
import torch
from torch import nn
from transformers import (
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertLMHeadModel,
)

from lrp_hooks import ArgumentError, LrpHooksError, explain
from lrp_hooks.explainers import names
from lrp_hooks.sentiment import sentiment_model
from tiny_bert import tiny_bert

_, TOKENIZER = sentiment_model()
TEXT, MASKED = "the film is a delight", "a [MASK] film"
PAIR, CHOICES = ("is it funny ?", TEXT), ("the film is", ["a delight", "a bore"])


class Own(nn.Module):
    """A classifier that no configuration describes."""

    def __init__(self):
        super().__init__()
        self.bert = tiny_bert(BertForSequenceClassification, num_labels=3)

    def get_input_embeddings(self):
        return self.bert.get_input_embeddings()

    def forward(self, input_ids, attention_mask=None):
        return self.bert(input_ids, attention_mask=attention_mask).logits


def classifier(**settings):
    return lambda: tiny_bert(BertForSequenceClassification, **settings)


MANY = {"problem_type": "multi_label_classification", "num_labels": 3}
TASKS = {
    "one label": (classifier(num_labels=3), TEXT, None, "classification"),
    "many labels": (classifier(**MANY), TEXT, 2, "classification by many labels"),
    "regression": (
        classifier(problem_type="regression", num_labels=1),
        TEXT,
        None,
        "regression",
    ),
    "one logit": (classifier(num_labels=1), TEXT, None, "one logit"),
    "pair": (classifier(num_labels=2), PAIR, "LABEL_1", "classification"),
    "tokens": (
        lambda: tiny_bert(BertForTokenClassification, num_labels=3),
        TEXT,
        ("film", 1),
        "token classification",
    ),
    "answer": (
        lambda: tiny_bert(BertForQuestionAnswering),
        PAIR,
        None,
        "question answering",
    ),
    "choice": (
        lambda: tiny_bert(BertForMultipleChoice),
        CHOICES,
        "choice 1",
        "multiple choice",
    ),
    "mask": (lambda: tiny_bert(BertForMaskedLM), MASKED, "good", "masked token"),
    "next token": (
        lambda: tiny_bert(BertLMHeadModel, is_decoder=True),
        TEXT,
        None,
        "next token",
    ),
    "own": (Own, TEXT, 1, "classification"),
}
FEW = {
    "integrated_gradients": {"n_steps": 3},
    "smooth_grad": {"n_samples": 3},
    "lime": {"n_samples": 40},
    "kernel_shap": {"n_samples": 40},
    "shapley_value_sampling": {"n_samples": 3},
    "slalom": {"n_samples": 60},
}


# What reads one row of logits, what follows the tokens of one text, and SLALOM, which
# takes tokens out, so that positions are others.
NORMS = {"attention_norms", "globenc", "alti", "value_zeroing"}
ATTENTION = {
    *("attention_last", "attention_rollout", "attention_flow", "generic_attention"),
    *("decompx", "slalom"),
}
REFUSED = {
    "tokens": NORMS | {"slalom"},
    "answer": NORMS | {"slalom"},
    "mask": NORMS | {"slalom"},
    "next token": NORMS,
    "choice": NORMS | ATTENTION,
}


@pytest.fixture(scope="module")
def models():
    return {name: build() for name, (build, *_) in TASKS.items()}


def shape_of(text):
    """The shape of scores by what the tokenizer makes of a text."""
    if text is CHOICES:
        prompt, choices = text
        lengths = [len(TOKENIZER(prompt, one)["input_ids"]) for one in choices]
        return (1, len(choices), max(lengths))
    both = text if isinstance(text, tuple) else (text,)
    return (1, len(TOKENIZER(*both)["input_ids"]))


@pytest.mark.filterwarnings("ignore::lrp_hooks.LrpHooksWarning")  # of so few samples
@pytest.mark.parametrize("method", names())
@pytest.mark.parametrize("task", TASKS)
def test_explained_shown_and_kept_or_refused(task, method, models, tmp_path):
    _, text, target, said = TASKS[task]
    options = FEW.get(method, {})
    if method in REFUSED.get(task, ()):
        with pytest.raises(LrpHooksError):
            explain(models[task], text, method, TOKENIZER, target, **options)
        return
    found = explain(models[task], text, method, TOKENIZER, target, **options)
    assert found.meta["task"] == said
    assert found.scores.shape == shape_of(text)
    assert found.scores.isfinite().all() and found.output.isfinite().all()
    check_shown(found)
    check_exported(found)
    check_kept(found, tmp_path)


def check_shown(found):
    (name,) = found.targets
    for shown in (found.to_html(), found.to_terminal(colour=False)):
        assert name and name.replace("'", "&#x27;" if "<" in shown else "'") in shown
    assert "\x1b[" in found.to_terminal(colour=True)
    assert found.plot().axes


def check_exported(found):
    total = found.scores.double().sum().item()
    frame = found.to_dataframe()
    assert frame["score"].sum() == pytest.approx(total, rel=1e-4, abs=1e-5)
    if found.scores.ndim == 3:  # each choice has tokens of its own
        for export in (found.to_shap, found.to_captum_records, found.words):
            with pytest.raises(ArgumentError):
                export()
        return
    if found.meta.get("class_specific", True):
        values = found.to_shap()
        whole = float(values.base_values[0] + values.values[0].sum())
        assert whole == pytest.approx(found.output.item(), rel=1e-4, abs=1e-5)
    (record,) = found.to_captum_records()
    assert record.attr_score == pytest.approx(total, rel=1e-4, abs=1e-5)
    words = found.words()
    assert words.scores.double().sum().item() == pytest.approx(
        total, rel=1e-4, abs=1e-5
    )
    assert words.to_html()


def check_kept(found, folder):
    for ending in ("json", "safetensors"):
        path = folder / f"found.{ending}"
        found.save(path)
        again = type(found).load(path)
        assert torch.equal(again.scores, found.scores)
        assert (again.targets, again.meta) == (found.targets, found.meta)
        assert again.to_html() == found.to_html()
