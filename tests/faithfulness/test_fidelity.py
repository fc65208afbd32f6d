"""Infidelity, removal error and leave-one-out against closed forms and plain loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from faithfulness_oracle import replaced
from lrp_hooks import ArgumentError, NonFiniteError, TargetError, faithfulness
from lrp_hooks.faithfulness import infidelity, leave_one_out_correlation, removal_error
from strategies import Spec, build, noise, seeds, tokens

FILLER = 3
SPECIAL = 7
SAMPLED = (infidelity, removal_error)
UNPLACED = Spec(("explicit", "mlp"), ("layer", "rms"), pool="mean", bias=False)


class Sums(nn.Module):
    """Each logit is a sum of the attended tokens' weights."""

    def __init__(self, classes=2, seed=0):
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(noise(11, classes, seed=seed))

    def forward(self, input_ids, attention_mask=None):
        found = self.embedding(input_ids)
        if attention_mask is not None:
            return (found * attention_mask[..., None]).sum(1)
        return found.sum(1)

    def truth(self, ids, target):
        """What the target's logit loses when a token is replaced."""
        weights = self.embedding.weight[:, target]
        return weights[ids] - weights[FILLER]


def ragged(seed=0):
    mask = torch.tensor([[1] * 7, [1] * 5 + [0] * 2, [0] * 3 + [1] * 4])
    return {"input_ids": tokens(3, 7, seed), "attention_mask": mask}


@settings(max_examples=10)
@given(seeds, st.integers(0, 2), st.booleans())
def test_the_truth_of_sums_has_no_error(seed, target, special):
    model, batch = Sums(3, seed), ragged(seed)
    scores = model.truth(batch["input_ids"], target)
    ids = (SPECIAL,) if special else ()
    found = infidelity(model, batch, scores, target, FILLER, special_ids=ids)
    assert found.shape == (3,)
    assert found.abs().max() < 1e-20
    found = leave_one_out_correlation(
        model, batch, scores, target, FILLER, special_ids=ids
    )
    assert_close(found, torch.ones(3).double())


@settings(max_examples=10)
@given(seeds, st.integers(0, 1), st.booleans())
def test_the_log_odds_of_two_classes_and_of_one_logit_add_up(seed, target, one):
    model, ids = Sums(1 if one else 2, seed), tokens(2, 6, seed)
    target = 0 if one else target
    scores = model.truth(ids, target)
    scores = scores if one else scores - model.truth(ids, 1 - target)
    assert removal_error(model, ids, scores, target, FILLER).max() < 1e-20
    assert removal_error(model, ids, scores, target, "delete").min() > 1e-3
    left_out = scores + torch.tensor([0.0] * 5 + [1])
    assert removal_error(model, ids, left_out, target, FILLER).min() > 0.1


def test_a_constant_error_of_one_token_has_its_closed_form():
    """Of one removed token the error is the square of its score's, in the mean."""
    model, ids = Sums(), tokens(1, 6)
    off = torch.tensor([[0.0, 1, 2, 3, 4, 5]])
    scores = model.truth(ids, 0) - model.truth(ids, 1) + off
    found = removal_error(model, ids, scores, 0, FILLER, removals=1, n_samples=4000)
    assert float(found) == pytest.approx(55 / 6, rel=0.05)


@pytest.mark.parametrize("factor", [0.0, 0.5, 3.0, -1.0])
def test_scaled_truth_has_its_closed_form(factor):
    """Of a set I the error is (factor - 1) sum(I . truth), squared.

    Its mean over sets with probability 1/2 is (1/4) sum(truth^2) + (1/4) sum(truth)^2.
    """
    model, batch = Sums(), ragged()
    free = (batch["attention_mask"] == 1) & (batch["input_ids"] != SPECIAL)
    truth = model.truth(batch["input_ids"], 1) * free
    options = {"n_samples": 4000, "special_ids": (SPECIAL,)}
    right = ((truth**2).sum(1) + truth.sum(1) ** 2) / 4 * (factor - 1) ** 2
    noisy = truth * factor + 9 * (batch["attention_mask"] == 0)
    found = infidelity(model, batch, noisy, 1, FILLER, **options)
    assert_close(found, right, rtol=0.1, atol=1e-12)
    if factor:
        found = infidelity(model, batch, noisy, 1, FILLER, normalize=True, **options)
        assert found.min() >= 0
        assert found.max() < 1e-13


def half_sets(free, seed, n):
    """The documented draw: each free place with probability 1/2, by the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.rand(n, len(free), generator=generator) < 0.5
    return [[i for i, gone in zip(free, row, strict=True) if gone] for row in rows]


@settings(max_examples=5)
@given(seeds)
def test_infidelity_is_the_mean_over_its_sets(seed):
    """Every set shown one by one, with the same draw of sets."""
    model, ids, scores = build(UNPLACED, seed), tokens(1, 6, seed), noise(1, 6)
    free = [i for i in range(6) if ids[0, i] != SPECIAL]

    def read(row):
        with torch.no_grad():
            return float(model(**row)[0, 2])

    show = replaced(read, {"input_ids": ids}, "input_ids", FILLER)
    sums, changes = [], []
    for gone in half_sets(free, 5, 30):
        sums.append(sum(float(scores[0, i]) for i in gone))
        changes.append(show(set(range(6))) - show(set(range(6)) - set(gone)))
    for normalize in (False, True):
        by = 1.0
        if normalize:
            products = zip(sums, changes, strict=True)
            by = sum(s * c for s, c in products) / sum(s * s for s in sums)
        errors = [(by * s - c) ** 2 for s, c in zip(sums, changes, strict=True)]
        found = infidelity(
            model,
            ids,
            scores,
            2,
            FILLER,
            n_samples=30,
            seed=5,
            normalize=normalize,
            special_ids=[SPECIAL],
        )
        assert float(found) == pytest.approx(sum(errors) / 30, rel=1e-8)


@pytest.mark.parametrize("target", [0, 2])
def test_removal_error_over_all_sets_of_one(target):
    """Each single removal by hand; sampling finds their mean."""
    model, ids, scores = build(UNPLACED), tokens(1, 5), noise(1, 5)

    def odds(value):
        row = model(value).detach()[0].tolist()
        rest = sum(math.exp(x) for i, x in enumerate(row) if i != target)
        return row[target] - math.log(rest)

    errors = []
    for i in range(5):
        left = ids.clone()
        left[0, i] = FILLER
        errors.append((odds(ids) - odds(left) - float(scores[0, i])) ** 2)
    found = removal_error(
        model, ids, scores, target, FILLER, removals=1, n_samples=5000
    )
    spread = (sum((e - sum(errors) / 5) ** 2 for e in errors) / 5) ** 0.5
    assert float(found) == pytest.approx(sum(errors) / 5, abs=5 * spread / 5000**0.5)


def test_sets_are_of_one_token_to_the_most_allowed():
    """A logit of 1 for each replaced token tells the size of a set."""

    class Count(nn.Module):
        def forward(self, ids):
            return -(ids == FILLER).sum(1, keepdim=True).double()

    ids = torch.full((1, 6), 5)
    for removals, most in ((1, 1), (3, 3), (5, 5), (6, 5), (50, 5)):
        # Of zero scores the error is the squared size, each size as likely.
        right = sum(k * k for k in range(1, most + 1)) / most
        options = {"removals": removals, "n_samples": 3000}
        found = removal_error(Count(), ids, torch.zeros(1, 6), 0, FILLER, **options)
        assert float(found) == pytest.approx(right, rel=0.06)
    one = removal_error(Count(), ids[:, :1], torch.zeros(1, 1), 0, FILLER)
    assert float(one) == 1  # the only token there is


@settings(max_examples=8)
@given(seeds, st.sampled_from(["spearman", "kendall", "sign"]))
def test_losses_of_single_tokens_agree_with_themselves(seed, measure):
    model, batch = build(UNPLACED, seed), ragged(seed)
    losses = torch.zeros(3, 7).double()
    with torch.no_grad():
        for row in range(3):
            one = {name: value[row : row + 1] for name, value in batch.items()}
            whole = model(**one)[0, 1]
            for i in range(7):
                left = one["input_ids"].clone()
                left[0, i] = FILLER
                losses[row, i] = whole - model(left, one["attention_mask"])[0, 1]
    losses[losses.abs() < 1e-12] = 0  # the filler itself
    options = {"measure": measure, "special_ids": [FILLER]}
    found = leave_one_out_correlation(model, batch, losses, 1, FILLER, **options)
    assert_close(found, torch.ones(3).double())
    found = leave_one_out_correlation(model, batch, -losses, 1, FILLER, **options)
    assert_close(found, torch.full((3,), 0.0 if measure == "sign" else -1).double())
    nothing = leave_one_out_correlation(
        model, batch, torch.zeros(3, 7), 1, FILLER, special_ids=[FILLER]
    )
    assert nothing.isnan().all()


@pytest.mark.parametrize("metric", [*SAMPLED, leave_one_out_correlation])
def test_nothing_depends_on_the_batch_or_its_padding(metric):
    model, batch, scores = build(UNPLACED), ragged(), noise(3, 7)
    every = metric(model, batch, scores, [0, 1, 2], FILLER)
    for row in range(3):
        real = batch["attention_mask"][row].bool()
        ids, own = batch["input_ids"][row, real][None], scores[row, real][None]
        assert_close(metric(model, ids, own, row, FILLER)[0], every[row])


@pytest.mark.parametrize("metric", SAMPLED)
def test_sets_depend_on_the_seed_alone(metric):
    model, ids, scores = build(UNPLACED), tokens(2, 7), noise(2, 7)
    torch.default_generator.manual_seed(1)
    before = torch.get_rng_state()
    first = metric(model, ids, scores, 0, FILLER)
    assert torch.equal(torch.get_rng_state(), before)
    torch.default_generator.manual_seed(2)
    assert torch.equal(metric(model, ids, scores, 0, FILLER), first)
    assert not torch.equal(metric(model, ids, scores, 0, FILLER, seed=1), first)


@pytest.mark.parametrize("metric", [*SAMPLED, leave_one_out_correlation])
def test_bad_arguments_are_refused(metric):
    model, ids, scores = build(UNPLACED), tokens(2, 5), noise(2, 5)
    with pytest.raises(NonFiniteError, match="scores of example 1"):
        metric(model, ids, scores.masked_fill(scores == scores[1, 2], torch.nan), 0, 3)
    with pytest.raises(ArgumentError, match=r"\(4,\).*\(2, 5\)"):
        metric(model, ids, scores[:, :4], 0, FILLER)
    with pytest.raises(ArgumentError, match=r"\(1, 5\).*\(2, 5\)"):
        metric(model, ids, scores[:1], 0, FILLER)
    for target, message in ((3, "0 to 2"), (0.5, "whole"), ([0], "2 examples")):
        with pytest.raises(TargetError, match=message):
            metric(model, ids, scores, target, FILLER)
    assert_close(
        metric(model, ids, scores.numpy(), 0, FILLER),
        metric(model, ids, scores, 0, FILLER),
    )


@pytest.mark.parametrize("number", [0, -1, 1.5, "many", True])
def test_numbers_of_sets_are_whole_and_positive(number):
    arguments = (build(UNPLACED), tokens(2, 5), noise(2, 5), 0, FILLER)
    for metric in SAMPLED:
        with pytest.raises(ArgumentError, match=f"n_samples={number!r}.*whole.*1"):
            metric(*arguments, n_samples=number)
    with pytest.raises(ArgumentError, match=f"removals={number!r}.*whole.*1"):
        removal_error(*arguments, removals=number)


def test_a_measure_that_does_not_exist_is_refused():
    arguments = (build(UNPLACED), tokens(2, 5), noise(2, 5), 0, FILLER)
    for measure in ("pearson", "top_k"):
        with pytest.raises(ArgumentError, match=f"measure='{measure}'.*'spearman'"):
            faithfulness.leave_one_out_correlation(*arguments, measure=measure)
