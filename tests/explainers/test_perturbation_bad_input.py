"""What cannot be perturbed is refused with what to do about it."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lrp_hooks import ArgumentError, NonFiniteError, TargetError, TextError, explain
from lrp_hooks.explainers import KernelShap, LeaveOneOut, Lime, ShapleyValueSampling
from small_models import hugging_face
from strategies import build, noise, tokens

METHODS = (LeaveOneOut, Lime, KernelShap, ShapleyValueSampling)
CLS, SEP, UNK = 8, 9, 7
TOKENIZER = SimpleNamespace(
    all_special_ids=[CLS, SEP, UNK], mask_token_id=None, unk_token_id=UNK
)


@pytest.mark.parametrize(
    ("method", "options", "says"),
    [
        (LeaveOneOut, {"tokenizer": "bert"}, "without all_special_ids"),
        (LeaveOneOut, {"patch": 0}, "patch=0 must be a whole number of at least 1"),
        (LeaveOneOut, {"batch_size": 1.5}, "batch_size=1.5 must be a whole number"),
        (Lime, {"n_samples": 0}, "n_samples=0"),
        (Lime, {"seed": None}, "seed=None"),
        (Lime, {"kernel_width": 0}, "kernel_width=0"),
        (Lime, {"kernel_width": "wide"}, "kernel_width='wide' must be a number"),
        (Lime, {"alpha": -1}, "alpha=-1 must be a number of at least 0"),
        (ShapleyValueSampling, {"n_samples": "all"}, "n_samples='all'"),
    ],
)
def test_options_are_checked_at_once(method, options, says):
    with pytest.raises(ArgumentError, match=says):
        method(build(), **options)


def test_unknown_options_list_the_valid_ones():
    says = "width=3 is no option of Lime; .*n_samples, kernel_width, alpha, seed"
    with pytest.raises(ArgumentError, match=says):
        explain(build(), tokens(2, 5), "lime", width=3)


@pytest.mark.parametrize("method", [Lime, KernelShap])
def test_too_few_samples_name_the_minimum(method):
    says = r"n_samples=5 is too few for example 0, which has 5 features; .* is 6\."
    with pytest.raises(ArgumentError, match=says):
        method(build(), n_samples=5, replace_with=4)(tokens(1, 5))


def test_samples_that_determine_nothing():
    with pytest.raises(ArgumentError, match="n_samples=6 drew.*n_samples=70"):
        KernelShap(build(), n_samples=6, replace_with=4)(tokens(1, 5))


@pytest.mark.parametrize("method", METHODS)
def test_nothing_to_perturb(method):
    batch = torch.tensor([[CLS, 3, SEP], [CLS, SEP, SEP]])
    with pytest.raises(TextError, match="example 1 has nothing to perturb"):
        method(build(), TOKENIZER)(batch)
    mask = torch.tensor([[1, 1, 1], [0, 0, 0]])
    batch = {"input_ids": tokens(2, 3), "attention_mask": mask}
    model = hugging_face("bert")
    with pytest.raises(TextError, match="example 1 has nothing to perturb"):
        method(model)(batch)


def test_what_replaces_tokens_by_default():
    model, ids = hugging_face("bert"), torch.tensor([[CLS, UNK, 3, SEP]])
    found = LeaveOneOut(model, TOKENIZER)(ids)
    assert found.meta["replace_with"] == UNK
    assert not found.scores[0, [0, 1, 3]].any()  # the unknown token by itself
    assert found.scores[0, 2]
    other = LeaveOneOut(model, TOKENIZER, replace_with=4)(ids)
    assert other.scores[0, [1, 2]].all()
    padding = SimpleNamespace(all_special_ids=[CLS], pad_token_id=5)
    assert LeaveOneOut(model, padding)(ids).meta["replace_with"] == 5
    assert LeaveOneOut(model, TOKENIZER, replace_with="delete")(ids).scores[0, 1]


@pytest.mark.parametrize(
    ("tokenizer", "given", "says"),
    [
        (None, None, "replace_with=None names no token.*Pass an id, or tokenizer="),
        (TOKENIZER, "mask", "'mask' names no.*'unk', 'delete', a token id below 11"),
        (TOKENIZER, "remove", "'remove'.*'delete'"),
        (TOKENIZER, 11, "replace_with=11"),
        (TOKENIZER, -1, "replace_with=-1"),
        (TOKENIZER, 2.0, r"replace_with=2\.0"),
        (TOKENIZER, True, "replace_with=True"),
    ],
)
def test_tokens_that_do_not_exist(tokenizer, given, says):
    with pytest.raises(ArgumentError, match=says):
        LeaveOneOut(build(), tokenizer, replace_with=given)(tokens(1, 5) % 7)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("mask", "'mask' is no choice for float inputs"),
        ("delete", "'delete' is no choice for float inputs"),
        (torch.zeros(3), r"shape \(3,\); .*\(2, 4\)"),
        (torch.zeros(1, 2, 4), r"shape \(1, 2, 4\); .*\(2, 4\)"),
    ],
)
def test_fillers_of_floats(given, says):
    with pytest.raises(ArgumentError, match=says):
        LeaveOneOut(nn.Linear(4, 3), replace_with=given)(torch.randn(2, 4))


@pytest.mark.parametrize("method", METHODS)
def test_nothing_left_to_show(method):
    ids = torch.tensor([[3]]) if method is LeaveOneOut else torch.tensor([[3, 4]])
    with pytest.raises(ArgumentError, match="'delete' takes every token out"):
        method(build(), replace_with="delete")(ids)


@pytest.mark.parametrize("shape", [(2, 5, 5), (2, 1, 5, 5)])
def test_masks_that_cannot_be_cut(shape):
    class Two(nn.Module):
        def forward(self, input_ids, mask):
            return input_ids.double() @ torch.ones(5, 2).double()

    inputs = {"input_ids": tokens(2, 5), "mask": torch.zeros(shape)}
    says = r"'delete' cannot cut a token out of 'mask' of shape \(2, .*5, 5\)"
    with pytest.raises(ArgumentError, match=says):
        LeaveOneOut(Two(), replace_with="delete")(inputs)


def test_inputs_of_other_shapes():
    with pytest.raises(ArgumentError, match="one is perturbed at a time"):
        LeaveOneOut(nn.Bilinear(3, 3, 2))((torch.randn(2, 3), torch.randn(2, 3)))
    video = nn.Sequential(nn.Flatten(), nn.Linear(8, 2))
    with pytest.raises(ArgumentError, match=r"\(1, 2, 2, 2, 1\).*images"):
        LeaveOneOut(video)(torch.randn(1, 2, 2, 2, 1))
    with pytest.raises(ArgumentError, match=r"torch.int64 of shape \(1, 2, 2, 2\)"):
        LeaveOneOut(nn.Sequential(nn.Embedding(5, 1), nn.Flatten()), replace_with=1)(
            torch.ones(1, 2, 2, 2).long()
        )


def test_targets_and_numbers_that_are_none():
    with pytest.raises(TargetError, match="target=3 is out of range"):
        LeaveOneOut(build(), replace_with=4)(tokens(1, 5), target=3)
    model = build()
    model.embedding.weight.data[4] = torch.inf
    with pytest.raises(NonFiniteError, match="not finite"):
        LeaveOneOut(model, replace_with=4)(tokens(1, 5) % 4)
    with pytest.raises(NonFiniteError, match="inputs"):
        LeaveOneOut(nn.Linear(4, 3))(noise(1, 4).float() * torch.nan)
