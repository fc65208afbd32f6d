"""Plausibility metrics against counting all pairs, thresholds and choices."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from lrp_hooks import ArgumentError
from lrp_hooks.faithfulness.plausibility import auprc, auroc, token_f1

METRICS = (auroc, auprc, token_f1)
every_metric = pytest.mark.parametrize("metric", METRICS)


@st.composite
def cases(draw, longest=9):
    """Scores with many ties, a rationale that is neither empty nor all, and a mask."""
    n = draw(st.integers(2, longest))
    scores = draw(st.lists(st.integers(-2, 3), min_size=n, max_size=n))
    marked = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    kept = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    marked[0], marked[1], kept[0], kept[1] = True, False, True, True
    order = draw(st.permutations(range(n)))
    return tuple(
        torch.tensor([[values[i] for i in order]])
        for values in ([s / 2 for s in scores], marked, kept)
    )


def rows(case):
    scores, marked, kept = (values[0].tolist() for values in case)
    return [(s, m) for s, m, k in zip(scores, marked, kept, strict=True) if k]


def pairs(items):
    """The share of (marked, other) pairs in the right order, ties one half."""
    ours = [s for s, m in items if m]
    others = [s for s, m in items if not m]
    wins = [(a > b) + (a == b) / 2 for a in ours for b in others]
    return sum(wins) / len(wins)


def thresholds(items):
    """The sum over thresholds of precision times what recall gains."""
    total, before = 0.0, 0.0
    for threshold in sorted({s for s, _ in items}, reverse=True):
        taken = [m for s, m in items if s >= threshold]
        recall = sum(taken) / sum(m for _, m in items)
        total += (recall - before) * sum(taken) / len(taken)
        before = recall
    return total


def choices(items, k):
    """The mean F1 over all sets of k tokens that no token left out outscores."""
    found = []
    for taken in itertools.combinations(range(len(items)), k):
        left = [items[i][0] for i in range(len(items)) if i not in taken]
        if k and left and min(items[i][0] for i in taken) < max(left):
            continue
        right = sum(items[i][1] for i in taken)
        precision, recall = right / max(k, 1), right / sum(m for _, m in items)
        both = precision + recall
        found.append(2 * precision * recall / both if both else 0.0)
    return sum(found) / len(found)


@given(cases())
def test_auroc_counts_pairs(case):
    assert_close(auroc(*case), torch.tensor([pairs(rows(case))]).double())


@given(cases())
def test_auprc_visits_every_threshold(case):
    assert_close(auprc(*case), torch.tensor([thresholds(rows(case))]).double())


@given(cases(), st.one_of(st.none(), st.integers(0, 9)))
def test_token_f1_is_the_mean_over_choices(case, k):
    items = rows(case)
    size = sum(m for _, m in items) if k is None else min(k, len(items))
    wanted = torch.tensor([choices(items, size)]).double()
    assert_close(token_f1(*case, k=k), wanted, rtol=1e-6, atol=1e-6)


@given(cases(), st.integers(-3, 4))
def test_token_f1_by_threshold(case, limit):
    items, threshold = rows(case), limit / 2
    taken = [m for s, m in items if s >= threshold]
    wanted = 2 * sum(taken) / (len(taken) + sum(m for _, m in items))
    found = token_f1(*case, threshold=threshold)
    assert found.item() == pytest.approx(wanted)


@every_metric
@given(case=cases(), scale=st.sampled_from([0.5, 2.0, 8.0]))
def test_order_alone_counts(metric, case, scale):
    scores, *rest = case
    assert_close(metric(scores.exp() * scale - 7, *rest), metric(*case))


@every_metric
@given(case=cases(), data=st.data())
def test_places_do_not_count(metric, case, data):
    order = data.draw(st.permutations(range(case[0].shape[1])))
    moved = tuple(values[:, torch.tensor(order)] for values in case)
    assert_close(metric(*moved), metric(*case))


@given(cases())
def test_reversed_scores_reverse_auroc(case):
    scores, *rest = case
    assert_close(auroc(-scores, *rest), 1 - auroc(*case))


@every_metric
@given(first=cases(), second=cases())
def test_batches_are_examples_one_by_one(metric, first, second):
    width = max(first[0].shape[1], second[0].shape[1])
    padded = [
        torch.cat([torch.nn.functional.pad(v, (0, width - v.shape[1])) for v in both])
        for both in zip(first, second, strict=True)
    ]
    assert_close(metric(*padded), torch.cat([metric(*first), metric(*second)]))


@every_metric
def test_perfect_and_reversed(metric):
    marked = torch.tensor([[True, False, True, False, False]])
    assert metric(marked.float(), marked).item() == 1
    if metric is auprc:  # never 0: recall is reached at the latest with all tokens
        assert metric(-marked.float(), marked).item() == pytest.approx(2 / 5)
    else:
        assert metric(-marked.float(), marked).item() == 0


@every_metric
def test_nothing_to_rank_is_nan(metric):
    scores = torch.tensor([[1.0, 2.0, 3.0]]).expand(3, 3)
    marked = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 1]]).bool()
    kept = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 0, 1]])
    found = metric(scores, marked, kept)
    assert found.isnan().all()
    assert found.dtype == torch.float64
    assert metric(scores[:, :0], marked[:, :0]).isnan().all()
    assert metric(scores[:0], marked[:0]).shape == (0,)


@every_metric
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_every_dtype_is_ranked(metric, dtype):
    scores = torch.tensor([[3, 1, 2, 0]])
    marked = torch.tensor([[True, False, False, True]])
    assert_close(metric(scores.to(dtype), marked), metric(scores.double(), marked))


@every_metric
def test_infinity_has_a_rank_and_what_is_masked_none(metric):
    scores = torch.tensor([[torch.inf, -torch.inf, 0.0, torch.nan]])
    marked = torch.tensor([[True, False, False, True]])
    kept = torch.tensor([[1, 1, 1, 0]])
    assert metric(scores, marked, kept).item() == 1
    scores[0, 3] = torch.inf
    assert metric(scores, marked, kept).item() == 1


def test_k_for_each_example():
    scores = torch.tensor([[3.0, 2.0, 1.0, 0.0]]).expand(2, 4)
    marked = torch.tensor([[True, False, True, False]]).expand(2, 4)
    found = token_f1(scores, marked, k=torch.tensor([1, 3]))
    assert found.tolist() == pytest.approx([2 / 3, 4 / 5])
    assert token_f1(scores, marked, k=99).tolist() == pytest.approx([2 / 3] * 2)


SCORES, MARKED = torch.tensor([[1.0, 2.0]]), torch.tensor([[True, False]])


@every_metric
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.tensor([[1.0, torch.nan]]), MARKED), r"scores\[0, 1\] is NaN"),
        ((SCORES + 0j, MARKED), "complex"),
        ((SCORES[0], MARKED), r"scores must be a tensor \[B, T\]"),
        (([[1.0, 2.0]], MARKED), "a list"),
        ((SCORES, MARKED[:, :1]), "rationale has the shape"),
        ((SCORES, MARKED.int()), "must be boolean"),
        ((SCORES, None), "rationale must be a tensor"),
        ((SCORES, MARKED, MARKED[:, :1]), "mask has the shape"),
    ],
)
def test_what_cannot_be_ranked_is_refused(metric, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        metric(*arguments)


@pytest.mark.parametrize(
    "options",
    [
        {"k": 1, "threshold": 0.5},
        {"threshold": float("nan")},
        {"k": -1},
        {"k": 1.5},
        {"k": True},
        {"k": torch.tensor([1, 2])},
    ],
)
def test_token_f1_refuses(options):
    with pytest.raises(ArgumentError):
        token_f1(SCORES, MARKED, **options)


def test_a_graph_is_left_alone():
    scores = SCORES.clone().requires_grad_()
    assert not auroc(scores, MARKED).requires_grad
