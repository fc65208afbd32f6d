"""Classifiers without a padding token take one row at a time, and get their numbers."""

import pytest
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification

from lrp_hooks import ArgumentError, compare, explain, explainers, faithfulness
from lrp_hooks.attribution.rows import most_rows
from small_models import hugging_face

IDS = torch.tensor([[3, 5, 2, 7, 4]])


def classifier(pad):
    torch.manual_seed(0)
    sizes = {"vocab_size": 10, "n_embd": 16, "n_layer": 2, "n_head": 2}
    config = GPT2Config(**sizes, n_positions=32, pad_token_id=pad, num_labels=3)
    return GPT2ForSequenceClassification(config).eval()


@pytest.fixture(scope="module")
def both():
    """The same classifier without and with a padding token, which no text has."""
    without, having = classifier(None), classifier(9)
    having.load_state_dict(without.state_dict())
    return without, having


def test_which_models_take_one_row(both):
    assert [most_rows(model, 8) for model in both] == [1, 8]
    assert most_rows(torch.nn.DataParallel(both[0]), 8) == 1
    assert most_rows(hugging_face("gpt2"), 8) == 8
    assert most_rows(torch.nn.Linear(2, 2), 8) == 8


@pytest.mark.parametrize("method", explainers.names())
def test_every_method_says_the_same_as_in_batches(both, method):
    batch = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    options = {"replace_with": 1} if "replace_with" in _options(method) else {}
    found = []
    for model in both:
        try:
            found.append(explain(model, batch, method, target=1, **options).scores)
        except ArgumentError as error:  # says why it cannot work on either
            found.append(str(error))
    if isinstance(found[0], str):
        assert found[0] == found[1]
    else:
        torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def _options(method):
    return explainers.named(method).options()


def test_metrics(both):
    scores = torch.tensor([[0.1, 0.5, -0.2, 0.3, 0.0]])
    for replace_with in (1, "delete"):
        curves = [
            faithfulness.aopc(model, {"input_ids": IDS}, scores, 1, replace_with)
            for model in both
        ]
        torch.testing.assert_close(curves[0].values, curves[1].values)


def test_several_rows_are_refused(both):
    several = {"input_ids": IDS.repeat(2, 1)}
    for call in (explain, lambda *a: compare(*a, methods=["lrp", "lime"])):
        with pytest.raises(
            ArgumentError, match="2 rows.*pad_token_id is None takes one"
        ):
            call(both[0], several)
    assert len(explain(both[1], several).output) == 2
