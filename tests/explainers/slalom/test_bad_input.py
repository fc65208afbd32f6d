"""What cannot be explained is refused with what to do about it; the rest is not."""

import numpy as np
import pytest
import torch
from torch import nn

from lrp_hooks import ArgumentError, NonFiniteError, TargetError, TextError, explain
from lrp_hooks.explainers import Slalom
from lrp_hooks.explainers.slalom import SlalomWarning
from shared_models import sentiment
from slalom_models import CLS, PAD, SEP, Exact, special

IDS = torch.arange(6)[None]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sampling": "longest"}, "sampling='longest'.*'mixed', 'short', 'deletion'"),
        ({"fit": "exact"}, "fit='exact'.*'gauss-newton', 'sgd', 'als'"),
        ({"score": "lin"}, "'product', 'value', 'importance', 'removal'"),
        ({"n_samples": 12.5}, "n_samples=12.5 must be a whole number"),
        ({"n_samples": True}, "n_samples=True"),
        ({"seed": "one"}, "seed='one'"),
        ({"seed": True}, "seed=True"),
        ({"seed": 2**64}, f"seed={2**64} must be a whole number from -2"),
        ({"seed": -(2**63) - 1}, "seed=-9223372036854775809"),
        ({"seed": torch.tensor(1.5)}, r"seed=tensor\(1.5"),
        ({"tokenizer": "bert"}, "without all_special_ids"),
    ],
)
def test_options_are_checked_at_once(options, says):
    with pytest.raises(ArgumentError, match=says):
        Slalom(Exact(), **options)


@pytest.mark.parametrize(
    "seed", [-(2**63), 2**64 - 1, np.int64(7), torch.tensor(7)], ids=str
)
def test_every_whole_number_that_torch_takes_is_a_seed(seed):
    found = Slalom(Exact(), seed=seed)(IDS, target=1)
    assert torch.equal(found.scores, Slalom(Exact(), seed=int(seed))(IDS, 1).scores)


@pytest.mark.parametrize("n_samples", [-1, 0, 1, 6])
def test_too_few_samples_name_the_minimum(n_samples):
    model = Exact()
    with pytest.raises(ArgumentError, match=r"6 distinct tokens; the minimum is 7\."):
        Slalom(model, n_samples=n_samples)(IDS, target=1)
    assert not model.seen


@pytest.mark.parametrize("sampling", ["mixed", "short", "deletion"])
@pytest.mark.parametrize("method", ["gauss-newton", "sgd", "als"])
@pytest.mark.filterwarnings("ignore::lrp_hooks.explainers.slalom.SlalomWarning")
def test_the_minimum_is_enough(sampling, method):
    for ids in (IDS, torch.tensor([[3, 3, 8]]), torch.tensor([[3, 4]])):
        model = Exact()
        number = len(set(ids[0].tolist())) + 1
        found = Slalom(model, n_samples=number, sampling=sampling, fit=method)(ids)
        assert found.scores.isfinite().all()
        assert len(model.seen) <= number + 2


@pytest.mark.parametrize("sampling", ["mixed", "short", "deletion"])
def test_a_text_of_one_token_has_its_own_log_odds_as_value(sampling):
    model = Exact(silent=(CLS, SEP))
    for ids in (torch.tensor([[CLS, 8, SEP]]), torch.tensor([[CLS, 8, 8, SEP]])):
        with pytest.warns(SlalomWarning, match="only one distinct token"):
            found = Slalom(model, special(CLS, SEP), sampling=sampling)(ids, target=1)
        torch.testing.assert_close(found.values[0, 1], model.v[8].detach())
        assert found.importances.tolist() == torch.zeros(ids.shape).tolist()


def test_a_single_word_of_a_trained_model():
    model, tokenizer = sentiment()
    with pytest.warns(SlalomWarning, match="only one distinct token"):
        found = explain(model, "film", "slalom", tokenizer)
    torch.testing.assert_close(found.scores[0], found.output * torch.tensor([0, 1, 0]))


def test_a_text_of_special_tokens_alone_is_refused():
    batch = torch.tensor([[CLS, 4, SEP], [CLS, SEP, SEP]])
    model = Exact()
    with pytest.raises(TextError, match=r"example 1 has no ordinary token"):
        Slalom(model, special(CLS, SEP))(batch, target=1)
    assert not model.seen


def test_a_text_of_padding_alone_is_refused():
    batch = {"input_ids": IDS, "attention_mask": torch.zeros_like(IDS)}
    with pytest.raises(TextError, match="no ordinary token"):
        Slalom(Exact())(batch, target=1)
    with pytest.raises(TextError, match="no ordinary token"):
        Slalom(Exact(), special(CLS))(torch.full((1, 3), PAD), target=1)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (torch.randn(2, 4), "needs token ids"),
        (torch.arange(4), "needs token ids"),
        ("a text", "inputs is a str.*lrp_hooks.explain"),
        ({"attention_mask": None}, "no tensor"),
        (torch.zeros(0, 3, dtype=torch.long), "at least one element"),
    ],
)
def test_inputs_that_are_no_token_ids(inputs, says):
    with pytest.raises(ArgumentError, match=says):
        Slalom(Exact())(inputs, target=1)


def test_a_mask_of_another_shape_is_refused():
    mask = torch.ones(1, 1, 6, 6)
    with pytest.raises(ArgumentError, match="attention_mask has the shape"):
        Slalom(Exact())({"input_ids": IDS, "attention_mask": mask}, target=1)


@pytest.mark.parametrize("target", [2, -1, "positive", 1.0])
def test_targets_that_do_not_exist(target):
    with pytest.raises(TargetError, match="target="):
        Slalom(Exact())(IDS, target=target)


def test_a_target_function_must_answer_for_every_sequence():
    first = iter([True])

    def target(output):
        odds = output.logits[:, 1]
        return odds if next(first, False) else odds[:1]

    with pytest.raises(ArgumentError, match="one number for each"):
        Slalom(Exact())(IDS, target=target)


def test_nan_is_never_fitted():
    class Overflowing(nn.Module):
        def forward(self, input_ids):
            odds = input_ids.float().sum(1)
            if input_ids.shape[1] == 3:
                odds *= torch.inf
            return torch.stack([odds * 0, odds], 1)

    with pytest.raises(NonFiniteError, match="log-odds of a perturbed text"):
        Slalom(Overflowing())(IDS, target=1)


def test_a_whole_text_without_finite_log_odds_is_refused():
    class Broken(nn.Module):
        def forward(self, input_ids):
            return torch.full((len(input_ids), 2), torch.nan)

    for target in (1, lambda logits: logits[:, 0]):
        with pytest.raises(NonFiniteError, match=r"of the examples are \[nan\]"):
            Slalom(Broken())(IDS, target=target)


def test_unknown_options_are_listed():
    with pytest.raises(ArgumentError, match="tokenizer, sampling, fit, n_samples"):
        explain(Exact(), IDS, method="slalom", samples=3)
