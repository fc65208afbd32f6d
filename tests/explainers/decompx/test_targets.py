"""What is explained: every kind of target, on both paths."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from decompx_models import batch, tiny
from lrp_hooks import Contrast, TargetError, UnruledWarning
from lrp_hooks.explainers import DecompX

PATHS = pytest.mark.parametrize("stages", [(), ("pooler",)], ids=["back", "forth"])


def explained(target, stages=(), **options):
    return DecompX(tiny("Bert"), stages=stages, **options)(batch(), target)


def logits():
    return tiny("Bert")(**batch()).logits.detach()


@PATHS
@pytest.mark.parametrize(
    ("target", "columns"),
    [
        (0, [0, 0]),
        ([2, 1], [2, 1]),
        ((0, 2), [0, 2]),
        (torch.tensor([1, 0]), [1, 0]),
        (np.int64(2), [2, 2]),
        ("LABEL_1", [1, 1]),
        (["LABEL_2", "LABEL_0"], [2, 0]),
    ],
)
@pytest.mark.parametrize("rule", ["equal", "token", "none"])
def test_a_target_is_a_column_of_all(target, columns, stages, rule):
    every = explained("all", stages, bias=rule)
    found = explained(target, stages, bias=rule)
    assert found.target.tolist() == columns
    for row, column in enumerate(columns):
        right = every.scores[row, :, column]
        assert_close(found.scores[row], right, rtol=0, atol=1e-13)
        assert found.output[row] == every.output[row, column]


@PATHS
def test_all_classes(stages):
    every = explained("all", stages)
    assert every.scores.shape == (2, 6, 3)
    assert every.output.shape == (2, 3)
    assert_close(every.output, logits(), rtol=0, atol=1e-13)
    for target in range(3):
        one, right = every.of(target), explained(target, stages)
        assert_close(one.scores, right.scores, rtol=0, atol=1e-13)
        assert torch.equal(one.output, right.output)
        assert one.target.tolist() == right.target.tolist() == [target] * 2
        assert (one.biases is None) == (right.biases is None) == bool(stages)
        if one.biases is not None:
            assert_close(one.biases, right.biases, rtol=0, atol=1e-13)


@PATHS
def test_by_default_it_is_the_predicted_class(stages):
    found = explained(None, stages)
    assert found.target.tolist() == logits().argmax(1).tolist()
    assert torch.equal(found.output, logits().amax(1))


@PATHS
@pytest.mark.parametrize("rule", ["equal", "token", "absdot"])
def test_a_contrast_is_a_difference(stages, rule):
    every = explained("all", stages, bias=rule)
    found = explained(Contrast("LABEL_2", [0, 1]), stages, bias=rule)
    for row, other in enumerate([0, 1]):
        right = every.scores[row, :, 2] - every.scores[row, :, other]
        assert_close(found.scores[row], right, rtol=0, atol=1e-12)
        assert_close(found.output[row], logits()[row, 2] - logits()[row, other])


def linear(output):
    return 2 * output.logits[:, 0] - 0.5 * output.logits[:, 2]


def test_a_linear_function_of_the_output_works_backwards():
    every, found = explained("all"), explained(linear)
    right = 2 * every.scores[..., 0] - 0.5 * every.scores[..., 2]
    assert_close(found.scores, right, rtol=0, atol=1e-12)
    assert_close(found.scores.sum(1), found.output)


def test_a_function_that_is_not_linear_is_warned_of():
    with pytest.warns(UnruledWarning, match="is not linear"):
        explained(lambda output: output.logits.softmax(-1)[:, 0])


@pytest.mark.parametrize("options", [{"stages": "pooler"}, {"bias": "absdot"}])
def test_a_function_cannot_be_decomposed(options):
    with pytest.raises(TargetError, match=r"is a function.*Contrast"):
        explained(linear, **options)


BAD = {
    "too large": (3, "0 to 2"),
    "negative": (-1, "0 to 2"),
    "no label": ("LABEL_7", "LABEL_0"),
    "too few": ([1], "2 examples"),
    "floats": (torch.tensor([0.0, 1.0]), "whole numbers"),
    "a truth": (True, "must be a class"),
}


@PATHS
def test_an_array_of_classes(stages):
    found = explained(np.array([0, 1]), stages)
    assert_close(found.scores, explained([0, 1], stages).scores, rtol=0, atol=0)


@PATHS
@pytest.mark.parametrize("name", BAD)
def test_bad_targets(name, stages):
    target, words = BAD[name]
    with pytest.raises(TargetError, match=words):
        explained(target, stages)
