"""Where the tokens that matter are known, the right explanation scores best.

Three theorems, for an example with N tokens and models of one number z, whose
probability grows with z and whose other logit is -z:

* z a sum of token weights: of all sets of one size, that of the largest weights has the
  largest sum. So scores that order tokens as the weights do are best at every single
  step of every metric but pruning, among all scores.
* the same with weights that share a sign: the smallest weights have the sum nearest to
  0, so they are best at every step of pruning, too. (With both signs they need not be:
  +5 and -5 can be taken away together.)
* z high where all planted tokens are there, else low: scores that put the planted
  tokens first are best at every step of every metric.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lrp_hooks import faithfulness
from strategies import noise, seeds

HIGHER = {"activation", "aopc", "comprehensiveness", "insertion", "lerf_morf"}
EMPTY = 0


class Planted(nn.Module):
    """Looks at known tokens: at their sum, or at whether all are there."""

    def __init__(self, weights, together=False):
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(weights[:, None])
        self.together = together

    def forward(self, input_ids):
        weights = self.embedding(input_ids)[..., 0]
        if self.together:
            wanted = (self.embedding.weight > 0).sum()
            z = 2.0 * ((weights > 0).sum(1) == wanted) - 1
        else:
            z = weights.sum(1)
        return torch.stack([z, -z], 1).double()


@st.composite
def plants(draw):
    """A text of distinct tokens, two to N / 2 of them planted, and random scores."""
    n = draw(st.integers(5, 12))
    planted = draw(st.sets(st.integers(0, n - 1), min_size=2, max_size=n // 2))
    marks = torch.zeros(n).double()
    marks[sorted(planted)] = 1
    others = noise(4, n, seed=draw(seeds))
    return torch.arange(1, n + 1)[None], marks, others


def rivals(right, others):
    """The negation, the constant, the reverse, half of the truth, and random scores."""
    half = right.clone()
    half[int(right.abs().argmax())] = 0
    inside_out = right.abs().max() - right.abs()
    return [-right, right * 0, right.flip(0), half, inside_out, *others, right]


def measured(model, ids, scores):
    """All metrics, so turned that higher is better: ``{metric: [B, K]}``."""
    rows = torch.stack(scores)
    found = faithfulness.measure(model, ids.expand(len(rows), -1), rows, 0, EMPTY)
    return {
        name: (curve.values if name in HIGHER else -curve.values, curve)
        for name, curve in found.items()
    }


def is_best(model, ids, right, others, metrics):
    for name, (values, _) in measured(model, ids, rivals(right, others)).items():
        if name in metrics:
            assert (values <= values[-1] + 1e-12).all(), name


EVERY = set(faithfulness.METRICS)


@given(plants(), seeds, st.booleans())
def test_sums_of_weights_of_both_signs(drawn, seed, partly):
    ids, marks, others = drawn
    weights = noise(len(marks), seed=seed) * (marks if partly else 1)
    model = Planted(torch.cat([torch.zeros(1).double(), weights]))
    is_best(model, ids, weights, others, EVERY - {"pruning"})


@given(plants(), seeds, st.sampled_from([-1, 1]))
def test_sums_of_weights_of_one_sign(drawn, seed, sign):
    ids, marks, others = drawn
    weights = sign * noise(len(marks), seed=seed).abs() * marks
    model = Planted(torch.cat([torch.zeros(1).double(), weights]))
    is_best(model, ids, weights, others, EVERY)


@given(plants())
def test_tokens_that_matter_only_together(drawn):
    ids, marks, others = drawn
    model = Planted(torch.cat([torch.zeros(1).double(), marks]), together=True)
    is_best(model, ids, marks, others, EVERY)


@given(plants(), st.booleans())
def test_the_wrong_way_round_is_worse_by_score(drawn, together):
    """Strictly: from planted tokens last, and for pruning from those called faint."""
    ids, marks, _ = drawn
    model = Planted(torch.cat([torch.zeros(1).double(), marks]), together)
    found = measured(model, ids, [marks, -marks, 1 - marks])
    for name, (_, curve) in found.items():
        right, negated, inside_out = curve.score.tolist()
        sign = 1 if name in HIGHER else -1
        if name == "accuracy" and not together:
            continue  # a sum of what is positive is never below 0
        assert sign * right > sign * inside_out, name
        if name == "pruning":
            assert right == negated
        else:
            assert sign * right > sign * negated, name


def test_weights_of_both_signs_can_beat_themselves_at_pruning():
    """Why the theorem on pruning asks for one sign: the largest two cancel out."""
    weights = torch.tensor([5.0, -5, 1, 1, 1]).double()
    model = Planted(torch.cat([torch.zeros(1).double(), weights]))
    scores = torch.stack([weights, torch.tensor([0.0, 0, 1, 1, 1]).double()])
    ids = torch.arange(1, 6).expand(2, -1)
    true, other = faithfulness.pruning(model, ids, scores, 0, EMPTY).values[:, 4]
    assert other == pytest.approx(0)
    assert true == pytest.approx(2 * 2**2)
