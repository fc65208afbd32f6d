"""Measures of agreement: by hand, by brute force, and their bounds."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrp_hooks.results.agreement import MEASURES, kendall, sign, spearman, top_k


def of(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


# Ties are frequent among a few whole numbers.
pairs = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=9
).map(lambda rows: tuple(map(list, zip(*rows, strict=True))))


def mean_ranks(scores):
    """Each score's rank from 1 on; tied ones share the mean of their places."""
    ordered = sorted(scores)
    places = {x: [i for i, y in enumerate(ordered, 1) if x == y] for x in ordered}
    return [sum(places[x]) / len(places[x]) for x in scores]


def pearson(a, b):
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    above = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    below = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
    return above / math.sqrt(below) if below else math.nan


def tau_b(a, b):
    """(concordant - discordant) / sqrt((n0 - ties in a)(n0 - ties in b))."""
    n0 = concordant = discordant = ties_a = ties_b = 0
    for (x, u), (y, v) in itertools.combinations(zip(a, b, strict=True), 2):
        n0 += 1
        ties_a += x == y
        ties_b += u == v
        concordant += (x - y) * (u - v) > 0
        discordant += (x - y) * (u - v) < 0
    below = (n0 - ties_a) * (n0 - ties_b)
    return (concordant - discordant) / math.sqrt(below) if below else math.nan


def same(found, right):
    return found == pytest.approx(right, abs=1e-12, nan_ok=True)


def test_by_hand():
    a, b = of(1, 2, 3, 4), of(1, 3, 2, 4)
    assert same(spearman(a, b), 1 - 6 * 2 / (4 * 15))
    assert same(kendall(a, b), (5 - 1) / 6)
    assert same(spearman(a, -a), -1)
    assert same(kendall(a, -a), -1)
    assert same(spearman(a, a.exp()), 1)
    assert same(sign(of(1, -1, 0, 2), of(3, 1, 0, -1)), 0.5)
    assert same(top_k(of(5, 4, 3, 2, 1), of(5, 1, 4, 2, 3), k=2), 0.5)
    assert same(top_k(of(5, 4, 3), of(5, 3, 4), k=1), 1)
    assert same(top_k(of(-5, 1), of(-5, 1), k=1), 1)
    assert same(top_k(of(-5, 1), of(5, 1), k=1), 0)  # by signed score


def test_ties_by_hand():
    a, b = of(1, 2, 2, 3), of(1, 2, 3, 4)
    assert same(spearman(a, b), 4.5 / math.sqrt(4.5 * 5))
    assert same(kendall(a, b), 5 / math.sqrt(5 * 6))


@given(pairs)
def test_by_brute_force(drawn):
    a, b = drawn
    found = of(*a), of(*b)
    assert same(spearman(*found), pearson(mean_ranks(a), mean_ranks(b)))
    assert same(kendall(*found), tau_b(a, b))
    alike = sum(
        (x > 0) - (x < 0) == (y > 0) - (y < 0) for x, y in zip(a, b, strict=True)
    )
    assert same(sign(*found), alike / len(a))


@given(st.permutations(range(8)), st.permutations(range(8)), st.integers(1, 12))
def test_the_highest_in_common(a, b, k):
    best = [set(sorted(range(8), key=x.__getitem__)[-k:]) for x in (a, b)]
    right = len(best[0] & best[1]) / min(k, 8)
    assert same(top_k(of(*a), of(*b), k), right)


@given(pairs)
def test_symmetric_and_bounded(drawn):
    a, b = of(*drawn[0]), of(*drawn[1])
    for name, measure in MEASURES.items():
        one, other = measure(a, b), measure(b, a)
        assert same(one, other)
        lowest = -1 if name in {"spearman", "kendall"} else 0
        assert math.isnan(one) or lowest - 1e-12 <= one <= 1 + 1e-12


@given(pairs)
def test_only_order_matters_to_ranks(drawn):
    a, b = of(*drawn[0]), of(*drawn[1])
    for measure in (spearman, kendall):
        assert same(measure(a, b), measure(3 * a - 1, (b / 2).exp()))


@pytest.mark.parametrize("measure", [spearman, kendall])
def test_nan_where_all_scores_are_equal(measure):
    assert math.isnan(measure(of(1, 1, 1), of(1, 2, 3)))
    assert math.isnan(measure(of(1, 2, 3), of(0, 0, 0)))
    assert math.isnan(measure(of(2), of(1)))


def test_one_token_and_fewer_than_k():
    assert same(sign(of(2), of(1)), 1)
    assert same(top_k(of(2), of(1)), 1)
    assert same(top_k(of(2, 1, 0), of(0, 1, 2)), 1)
    six = of(1, 2, 3, 4, 5, 6)
    assert same(top_k(six, -six), 0.8)  # five by default


def test_the_names():
    assert list(MEASURES) == ["spearman", "kendall", "sign", "top_k"]
    assert {type(measure(of(1, 2), of(2, 1))) for measure in MEASURES.values()} == {
        float
    }
