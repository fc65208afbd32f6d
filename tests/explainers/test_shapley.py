"""Kernel SHAP: against permutations, SHAP's own exact explainer, and a loop."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lrp_hooks import ArgumentError
from lrp_hooks.explainers import KernelShap, LeaveOneOut, Lime
from small_models import convolution
from strategies import build, noise, tokens

FILLER = 4


def by_permutations(value, d):
    """Return what each feature adds on average over all orders of arrival."""
    found, orders = [0.0] * d, list(itertools.permutations(range(d)))
    for order in orders:
        for place, j in enumerate(order):
            before = frozenset(order[:place])
            found[j] += (value[before | {j}] - value[before]) / len(orders)
    return torch.tensor(found, dtype=torch.float64)


def values_of(model, ids, target):
    """Return the output for each set of positions that are kept."""
    d = len(ids)
    sets = [
        frozenset(kept)
        for size in range(d + 1)
        for kept in itertools.combinations(range(d), size)
    ]
    rows = [[int(ids[k]) if k in kept else FILLER for k in range(d)] for kept in sets]
    with torch.no_grad():
        outputs = model(torch.tensor(rows))[:, target]
    return dict(zip(sets, outputs.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("d", [2, 3, 6])
def test_all_coalitions_give_the_mean_over_all_orders(seed, d):
    model, ids = build(seed=seed), tokens(1, d, seed)
    expected = by_permutations(values_of(model, ids[0], 1), d)
    found = KernelShap(model, replace_with=FILLER)(ids, target=1)
    assert_close(found.scores[0], expected, rtol=0, atol=1e-12)
    assert found.meta["model_calls"] == 2**d


def test_all_are_shown_where_n_samples_has_room_for_them():
    model, ids = build(), tokens(1, 5)
    expected = by_permutations(values_of(model, ids[0], 1), 5)
    options = {"replace_with": FILLER, "seed": 3}
    exact = KernelShap(model, n_samples=2**5 - 2, **options)(ids, target=1)
    assert_close(exact.scores[0], expected, rtol=0, atol=1e-12)
    drawn = KernelShap(model, n_samples=2**5 - 3, **options)(ids, target=1)
    assert (drawn.scores[0] - expected).abs().max() > 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_shap_says_the_same(seed):
    shap = pytest.importorskip("shap")
    model, ids = build(seed=seed), tokens(1, 6, seed)

    def outputs(kept):
        rows = torch.where(torch.tensor(kept).bool(), ids, FILLER)
        with torch.no_grad():
            return model(rows)[:, 1].numpy()

    explainer = shap.explainers.ExactExplainer(
        outputs, shap.maskers.Independent(np.zeros((1, 6)))
    )
    expected = torch.tensor(explainer(np.ones((1, 6))).values[0])
    found = KernelShap(model, replace_with=FILLER)(ids, target=1)
    assert_close(found.scores[0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("n_samples", [20, 100, None])
@pytest.mark.parametrize("seed", range(3))
def test_drawn_values_sum_to_what_all_have(n_samples, seed):
    model, ids = build(), tokens(1, 12)
    explainer = KernelShap(model, replace_with=FILLER, n_samples=n_samples, seed=seed)
    found = explainer(ids, target=1)
    whole = (model(ids) - model(torch.full_like(ids, FILLER)))[0, 1]
    assert_close(found.scores.sum(), whole.detach(), rtol=0, atol=1e-12)


def test_more_draws_come_nearer():
    model, ids = build(), tokens(1, 7)
    exact = by_permutations(values_of(model, ids[0], 1), 7)

    def error(n):
        each = [
            KernelShap(model, replace_with=FILLER, n_samples=n, seed=seed)(ids, 1)
            for seed in range(4)
        ]
        return sum((found.scores[0] - exact).norm() for found in each) / len(each)

    assert error(30) > error(2**7 - 3) > 0


def asked_of_the_game(explainer, ids):
    """Return the explanation of class 1, and all that was asked with the answers."""
    asked, scores = [], explainer.scores

    class Spy:
        def __init__(self, game):
            self.game, self.size, self.row = game, game.size, game.row

        def __call__(self, kept):
            values = self.game(kept)
            asked.extend(zip(kept.int().tolist(), values.tolist(), strict=True))
            return values

    explainer.scores = lambda game: scores(Spy(game))
    return explainer(ids, target=1), asked


def solved(rows, right):
    """Solve linear equations by Gauss's elimination in fractions."""
    rows = [
        [*map(Fraction, row), Fraction(b)] for row, b in zip(rows, right, strict=True)
    ]
    for i in range(len(rows)):
        pivot = next(k for k in range(i, len(rows)) if rows[k][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for k in range(len(rows)):
            if k != i:
                rows[k] = [
                    a - rows[k][i] * b for a, b in zip(rows[k], rows[i], strict=True)
                ]
    return torch.tensor([float(row[-1]) for row in rows], dtype=torch.float64)


def test_drawn_values_solve_the_bound_least_squares():
    model, ids, d = build(), tokens(1, 12) % 4, 12
    explainer = KernelShap(model, replace_with=FILLER, n_samples=40)
    found, asked = asked_of_the_game(explainer, ids)
    (none,) = {value for kept, value in asked if not any(kept)}
    drawn = [(kept, value - none) for kept, value in asked if 0 < sum(kept) < d]
    assert len(drawn) == 40
    # The normal equations, with a multiplier for the sum; f(all) is 0 to the game.
    gram = [[sum(z[i] * z[j] for z, _ in drawn) for j in range(d)] for i in range(d)]
    rows = [[*line, 1] for line in gram] + [[1] * d + [0]]
    right = [sum(z[i] * value for z, value in drawn) for i in range(d)] + [-none]
    assert_close(found.scores[0], solved(rows, right)[:d], rtol=0, atol=1e-9)


def test_too_few_draws_are_refused():
    model, ids = build(), tokens(1, 9)
    with pytest.raises(ArgumentError, match="n_samples=10 drew subsets that do not"):
        for seed in range(50):
            KernelShap(model, replace_with=FILLER, n_samples=10, seed=seed)(ids)


@pytest.mark.parametrize("alpha", [1.0, 0.1])
def test_lime_is_the_ridge_regression_of_scikit_learn(alpha):
    linear = pytest.importorskip("sklearn.linear_model")
    model, ids = build(), tokens(1, 9) % 4
    explainer = Lime(model, replace_with=FILLER, alpha=alpha, n_samples=150)
    found, asked = asked_of_the_game(explainer, ids)
    kept, values = (torch.tensor(t).double() for t in zip(*asked, strict=True))
    assert kept.shape == (150, 9)
    cosine = (kept.sum(1) / 9).sqrt()  # of 0 and 1 against all ones
    weights = (-((1 - cosine) ** 2) / (2 * 0.25**2)).exp()
    ridge = linear.Ridge(alpha=alpha).fit(kept, values, sample_weight=weights)
    assert_close(found.scores[0], torch.tensor(ridge.coef_), rtol=0, atol=1e-6)


def test_values_of_an_image_sum_to_what_it_has():
    model, images = convolution().eval(), noise(2, 2, 4, 4, dtype=torch.float32)
    found = KernelShap(model, replace_with=0.5, patch=2)(images, target=1)
    whole = (model(images) - model(torch.full_like(images, 0.5)))[:, 1].detach()
    assert_close(found.scores.sum((1, 2)), whole)
    assert_close(found.patches(2).scores.sum((1, 2)), whole)


def test_a_patch_has_what_is_lost_without_it():
    model, images = convolution().eval(), noise(2, 2, 4, 4, dtype=torch.float32)
    found = LeaveOneOut(model, replace_with=0.5, patch=2)(images, target=1)
    without = images.clone()
    without[:, :, 2:, :2] = 0.5
    lost = (model(images) - model(without))[:, 1].detach()
    assert_close(found.patches(2).scores[:, 1, 0], lost)
