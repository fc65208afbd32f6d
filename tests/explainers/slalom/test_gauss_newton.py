"""The default fit: exact on exact data, a minimum on others, honest leave-one-out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from lrp_hooks.explainers.slalom.gauss_newton import (
    RIDGES,
    Problem,
    Solution,
    fit,
    leave_one_out,
    ridge_path,
)
from slalom_models import centred

seeds = st.integers(0, 2**31)


def data(width, rows, seed, noise=0.0):
    """Counts of singles and random triples, and what a SLALOM with noise says."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(2, width, generator=generator, dtype=torch.float64)
    values, importances = 2 * draw[0], draw[1]
    triples = torch.randint(width, (rows, 3), generator=generator)
    counts = torch.eye(width, dtype=torch.float64)
    counts = torch.cat([counts, torch.nn.functional.one_hot(triples, width).sum(1)])
    weights = counts * importances.exp()
    outputs = (weights / weights.sum(1, keepdim=True)) @ values
    error = torch.randn(len(outputs), generator=generator, dtype=torch.float64)
    weight = torch.rand(len(outputs), generator=generator, dtype=torch.float64) + 0.5
    problem = Problem.of(counts.double(), outputs + noise * error, weight)
    return problem, values, importances


def objective(problem, ridge, values, importances):
    """The loss, written out for autograd."""
    weights = problem.counts * importances.exp()
    found = (weights / weights.sum(1, keepdim=True)) @ values
    rows, width = problem.counts.shape
    scale = ridge * rows / width
    return (
        (problem.weights * (problem.outputs - found) ** 2).sum()
        + scale * ((values - problem.prior) ** 2).sum()
        + 10 * problem.variance * scale * (importances**2).sum()
    )


@given(st.integers(2, 40), seeds)
def test_exact_data_are_recovered(width, seed):
    problem, values, importances = data(width, 4 * width, seed)
    found = fit(problem, RIDGES[-1], tolerance=1e-9)
    assert_close(found.values, values, rtol=0, atol=1e-3)
    gap = (centred(found.importances) - centred(importances)).abs()
    share = torch.bincount(problem.counts[width:].nonzero()[:, 1], minlength=width)
    # A token that occurs in no triple with others has no importance to be told.
    assert gap[share > 1].max() < 1e-2 if width < 4 else gap[share > 1].median() < 1e-3


@given(st.integers(2, 15), seeds, st.sampled_from([1e-1, 1e-2, 1e-3]))
def test_no_other_method_gets_further_down(width, seed, ridge):
    problem, *_ = data(width, 4 * width, seed, noise=0.3)
    found = fit(problem, ridge, tolerance=1e-12)
    point = [part.clone().requires_grad_() for part in found]
    other = torch.optim.LBFGS(point, max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        other.zero_grad()
        value = objective(problem, ridge, *point)
        value.backward()
        return value

    other.step(loss)
    further = objective(problem, ridge, *point).item()
    assert objective(problem, ridge, *found).item() <= further * (1 + 2e-3)


@given(st.integers(2, 15), seeds, st.sampled_from(RIDGES))
def test_the_fit_is_no_worse_than_where_it_starts(width, seed, ridge):
    problem, *_ = data(width, 2 * width, seed, noise=1.0)
    generator = torch.Generator().manual_seed(seed)
    start = Solution(
        torch.zeros(width).double(),
        torch.randn(width, generator=generator, dtype=torch.float64),
    )
    found = fit(problem, ridge, start)
    after = objective(problem, ridge, *found)
    assert after <= objective(problem, ridge, *start) * (1 + 1e-9)


@given(st.integers(2, 15), seeds)
def test_the_order_of_samples_does_not_matter(width, seed):
    problem, *_ = data(width, 3 * width, seed, noise=0.1)
    turned = torch.randperm(
        len(problem.outputs), generator=torch.Generator().manual_seed(seed)
    )
    again = Problem.of(
        problem.counts[turned], problem.outputs[turned], problem.weights[turned]
    )
    one, other = (fit(p, 1e-2, tolerance=1e-13) for p in (problem, again))
    assert_close(one.values, other.values, rtol=1e-3, atol=1e-3)


@settings(max_examples=10)
@given(seeds)
def test_leave_one_out_is_about_what_refitting_gives(seed):
    ridge = 0.1
    problem, *_ = data(5, 40, seed, noise=0.3)
    solution = fit(problem, ridge, tolerance=1e-13)
    guess = leave_one_out(problem, ridge, solution)
    refitted = []
    for row in range(len(problem.outputs)):
        kept = torch.ones(len(problem.outputs), dtype=torch.bool)
        kept[row] = False
        fewer = problem.rows(kept)
        scale = len(problem.outputs) / (len(problem.outputs) - 1)
        found = fit(fewer, ridge * scale, solution, tolerance=1e-13)
        weights = problem.counts[row] * found.importances.exp()
        refitted.append(problem.outputs[row] - weights @ found.values / weights.sum())
    refitted = torch.stack(refitted)
    assert_close(guess.norm(), refitted.norm(), rtol=0.2, atol=0)
    assert torch.corrcoef(torch.stack([guess, refitted]))[0, 1] > 0.9


@given(st.integers(3, 20), seeds)
def test_the_path_chooses_no_ridge_on_exact_data_and_some_on_noise(width, seed):
    exact, *_ = data(width, 6 * width, seed)
    assert min(ridge_path(exact), key=lambda e: e[0])[1] == RIDGES[-1]
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(exact.outputs), generator=generator, dtype=torch.float64)
    nothing = Problem.of(exact.counts, noise, exact.weights)
    assert min(ridge_path(nothing), key=lambda e: e[0])[1] > RIDGES[-1]


@pytest.mark.parametrize("outputs", [torch.zeros(6), torch.full((6,), 2.5)])
def test_constant_outputs_are_reproduced(outputs):
    counts = torch.tensor([[1, 0], [0, 1], [1, 1], [2, 1], [1, 2], [3, 0]]).double()
    found = fit(Problem.of(counts, outputs.double(), torch.ones(6).double()), 1e-3)
    assert_close(found.values, outputs[:2].double())
    assert found.importances.isfinite().all()
