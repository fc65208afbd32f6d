"""Curves and their summaries against sums written out; the bootstrap against loops."""

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrp_hooks import ArgumentError
from lrp_hooks.faithfulness import Curve, bootstrap
from strategies import noise, seeds

numbers = st.floats(-100, 100)


@st.composite
def drawn(draw):
    """Fractions that grow from 0 or above, and values as rows of plain numbers."""
    steps = draw(st.lists(st.integers(0, 100), min_size=2, max_size=9, unique=True))
    n = draw(st.integers(1, 4))
    row = st.lists(numbers, min_size=len(steps), max_size=len(steps))
    return sorted(x / 100 for x in steps), [draw(row) for _ in range(n)]


def curve(fractions, rows, summary="area"):
    return Curve(
        torch.tensor(fractions, dtype=torch.float64),
        torch.tensor(rows, dtype=torch.float64),
        summary,
    )


@given(drawn())
def test_area_mean_and_score(drawing):
    x, rows = drawing
    steps = range(len(x) - 1)
    areas = [
        sum((x[i + 1] - x[i]) * (y[i] + y[i + 1]) / 2 for i in steps) for y in rows
    ]
    assert curve(x, rows).area.tolist() == pytest.approx(areas, abs=1e-9)
    assert curve(x, rows).score.tolist() == pytest.approx(areas, abs=1e-9)
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    assert curve(x, rows).mean.tolist() == pytest.approx(mean, abs=1e-9)
    done = [i for i, share in enumerate(x) if share > 0]
    means = [sum(y[i] for i in done) / len(done) for y in rows]
    assert curve(x, rows, "mean").score.tolist() == pytest.approx(means, abs=1e-9)
    assert curve(x, rows, "mean").area.tolist() == pytest.approx(areas, abs=1e-9)


@given(drawn(), st.floats(-3, 3))
def test_area_is_linear_and_of_a_constant_the_width(drawing, factor):
    x, rows = drawing
    one, other = curve(x, rows), curve(x, [[factor] * len(x)] * len(rows))
    assert other.area.tolist() == pytest.approx([factor * (x[-1] - x[0])] * len(rows))
    both = Curve(one.fractions, one.values + other.values)
    assert both.area.tolist() == pytest.approx((one.area + other.area).tolist())


@pytest.mark.parametrize("shape", [(3,), (2, 4), (1, 2, 3)])
def test_values_of_other_steps_are_refused(shape):
    message = r"values has shape .*\(3,\).*\[B, K\] and \[K\]"
    with pytest.raises(ArgumentError, match=message):
        Curve(torch.zeros(3), torch.zeros(shape))


def test_a_summary_that_does_not_exist_is_refused():
    with pytest.raises(ArgumentError, match="summary='median'.*'area', 'mean'"):
        Curve(torch.zeros(3), torch.zeros(1, 3), "median")


def resampled(values, confidence, draws=4000):
    """The percentile bootstrap in plain Python, with other random numbers."""
    chance = random.Random(7)
    n = len(values)
    means = sorted(math.fsum(chance.choices(values, k=n)) / n for _ in range(draws))
    tail = (1 - confidence) / 2
    return means[round(tail * (draws - 1))], means[round((1 - tail) * (draws - 1))]


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("n", [20, 60])
def test_the_bootstrap_agrees_with_one_of_other_random_numbers(n, confidence):
    values = noise(n, seed=n).exp()
    right = resampled(values.tolist(), confidence)
    spread = float(values.std()) / n**0.5
    assert bootstrap(values, confidence) == pytest.approx(right, abs=0.2 * spread)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    trials = 80
    inside = 0
    for seed in range(trials):
        low, high = bootstrap(5 + noise(40, seed=seed), 0.8)
        inside += low <= 5 <= high
    # The percentile interval of n normal numbers misses a bit more than it says.
    assert abs(inside / trials - 0.8) < 3 * math.sqrt(0.8 * 0.2 / trials)


@settings(max_examples=5)
@given(seeds)
def test_the_bootstrap_is_fixed_and_moves_no_random_state(seed):
    before = torch.get_rng_state()
    values = noise(9, seed=seed)
    first = bootstrap(values)
    torch.default_generator.manual_seed(seed)
    assert bootstrap(values) == first
    torch.set_rng_state(before)
    bootstrap(values)
    assert torch.equal(torch.get_rng_state(), before)
    assert bootstrap(values, seed=1) != first
    low, high = first
    assert float(values.min()) <= low < float(values.mean()) < high <= values.max()
    narrow = bootstrap(values, 0.5)
    assert low < narrow[0] < narrow[1] < high


@settings(max_examples=5)
@given(seeds, st.integers(1, 5))
def test_examples_without_a_value_are_absent(seed, missing):
    values = noise(9, seed=seed)
    gaps = torch.full((missing,), torch.nan, dtype=torch.float64)
    assert bootstrap(torch.cat([values, gaps])) == bootstrap(values)
    assert all(math.isnan(bound) for bound in bootstrap(gaps))


def test_one_example_says_nothing_of_spread():
    assert bootstrap(torch.tensor([3.0])) == (3, 3)
    assert bootstrap(torch.tensor([2, 2, 2])) == (2, 2)


def test_the_interval_is_that_of_the_scores():
    values = noise(8, 3)
    for summary in ("area", "mean"):
        found = curve([0, 0.5, 1], values.tolist(), summary)
        assert found.interval(0.7) == bootstrap(found.score, 0.7)
        assert found.interval() == bootstrap(found.score, 0.95)


@pytest.mark.parametrize("confidence", [0, 1, -0.5, 95, math.nan])
def test_confidence_is_a_share(confidence):
    with pytest.raises(ArgumentError, match=f"confidence={confidence}.*0 and 1"):
        bootstrap(torch.zeros(3), confidence)


def test_values_are_one_number_an_example():
    with pytest.raises(ArgumentError, match=r"\(2, 3\).*\[B\]"):
        bootstrap(torch.zeros(2, 3))
