"""Scores that mean nothing, and still one example has one answer."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lrp_hooks import ArgumentError, explain
from lrp_hooks.explainers import RandomBaseline
from shared_models import sentiment
from strategies import Spec, build, noise, tokens


def test_standard_normal():
    model, ids = build(Spec(bias=False)), tokens(400, 8)
    scores = RandomBaseline(model)(ids).scores
    assert scores.shape == (400, 8)
    assert abs(scores.mean()) < 0.06
    assert abs(scores.std() - 1) < 0.06


@pytest.mark.parametrize("left", [True, False])
def test_an_example_has_its_own_scores_whatever_the_batch(left):
    model, ids = build(Spec(bias=False)), tokens(3, 6)
    mask = torch.ones(3, 6, dtype=torch.long)
    mask[1, slice(2) if left else slice(4, None)] = 0
    both = RandomBaseline(model)({"input_ids": ids, "attention_mask": mask})
    kept = mask.bool()
    assert not both.scores[~kept].any()
    for row in range(3):
        alone = RandomBaseline(model)(ids[row][kept[row]][None])
        assert_close(both.scores[row][kept[row]], alone.scores[0])
    assert not torch.equal(both.scores[0], both.scores[2])


def test_seeds():
    model, ids = build(), tokens(2, 5)
    state = torch.get_rng_state()
    first, again, other = (RandomBaseline(model, seed=s)(ids) for s in (3, 3, -4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.scores, again.scores)
    assert not torch.equal(first.scores, other.scores)
    assert_close(first.output, model(ids).amax(1))
    assert not first.output.requires_grad


def test_shapes():
    assert RandomBaseline(nn.Linear(4, 3))(torch.randn(2, 4)).scores.shape == (2, 4)
    image = nn.Sequential(nn.Flatten(), nn.Linear(24, 3))
    assert RandomBaseline(image)(torch.randn(2, 2, 3, 4)).scores.shape == (2, 3, 4)
    found = RandomBaseline(build())({"inputs_embeds": noise(2, 5, 8)})
    assert found.scores.shape == (2, 5)


def test_a_text():
    model, tokenizer = sentiment()
    found = explain(model, ["a dull film", "fun"], "random_baseline", tokenizer)
    assert found.tokens[1] == ["[CLS]", "fun", "[SEP]"]
    assert found.scores[0].ne(0).all()
    assert not found.scores[1, 3:].any()


def test_a_seed_that_is_none():
    with pytest.raises(ArgumentError, match="seed=None must be a whole number"):
        RandomBaseline(build(), seed=None)
