"""Recovery without a fit: 2 D - 1 questions, exact for every SLALOM."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from lrp_hooks import ArgumentError
from lrp_hooks.explainers.slalom import recover
from slalom_models import brute_force, centred

numbers = st.floats(-3, 3).map(lambda x: round(x, 2))


@given(st.dictionaries(st.integers(0, 99), st.tuples(numbers, numbers), min_size=1))
def test_every_slalom_is_recovered(table):
    values = {i: v for i, (v, _) in table.items()}
    importances = {i: s for i, (_, s) in table.items()}
    asked = []

    def log_odds(sequences):
        asked.extend(sequences)
        odds = [brute_force(ids, values, importances) for ids in sequences]
        return torch.tensor(odds, dtype=torch.float64)

    found = recover(log_odds, list(table))
    ids = sorted(table)
    assert found.surrogate.ids.tolist() == ids
    assert_close(
        found.surrogate.values, torch.tensor([values[i] for i in ids]).double()
    )
    if len(set(values.values())) > 1:
        assert found.valid == 1
        assert len(asked) == 2 * len(ids) - 1
        wanted = torch.tensor([importances[i] for i in ids], dtype=torch.float64)
        assert_close(found.surrogate.importances, centred(wanted), rtol=1e-6, atol=1e-6)
    else:  # nothing tells the importances of tokens that say the same
        assert math.isnan(found.valid)
        assert len(asked) == len(ids)
        assert (found.surrogate.importances == 0).all()


def test_the_valid_share_says_how_far_a_model_is_from_one():
    values = {1: 0.0, 2: 1.0, 3: 2.0, 4: 3.0}

    def sums(sequences):
        return torch.tensor([sum(values[i] for i in ids) for ids in sequences]).double()

    found = recover(sums, [1, 2, 3, 4])
    assert 0 <= found.valid < 1
    assert found.surrogate.importances.isfinite().all()


@pytest.mark.parametrize("vocabulary", [[3], [1, 2, 3]])
def test_where_no_pair_is_asked_none_is_valid(vocabulary):
    asked = []

    def log_odds(sequences):  # no SLALOM, as a pair would show
        asked.extend(sequences)
        return [1.0 if len(ids) == 1 else 9.0 for ids in sequences]

    found = recover(log_odds, vocabulary)
    assert asked == [[i] for i in vocabulary]
    assert math.isnan(found.valid)
    assert found.surrogate.values.tolist() == [1.0] * len(vocabulary)


@pytest.mark.parametrize("vocabulary", [[], [3, 3]])
def test_a_vocabulary_has_each_id_once(vocabulary):
    with pytest.raises(ArgumentError, match="distinct"):
        recover(lambda sequences: torch.zeros(len(sequences)), vocabulary)


@pytest.mark.parametrize(
    ("said", "match"),
    [
        (lambda n: torch.full((n,), float("nan")), "not finite"),
        (lambda n: torch.zeros(n, 1), r"must return \[3\]"),
        (lambda n: torch.zeros(n + 1), r"must return \[3\]"),
    ],
)
def test_what_a_model_must_return_is_said(said, match):
    with pytest.raises(ArgumentError, match=match):
        recover(lambda sequences: said(len(sequences)), [1, 2, 3])


@pytest.mark.parametrize(
    "said",
    [
        None,
        "a text",
        ["a", "b", "c"],
        [[1.0], [1.0, 2.0], [3.0]],
        object(),
        [2**70] * 3,
    ],
)
def test_what_is_no_number_is_named(said):
    named = f"log_odds returned a {type(said).__name__}, which is no array of numbers"
    with pytest.raises(ArgumentError, match=named):
        recover(lambda sequences: said, [1, 2, 3])


def test_lists_are_numbers_too():
    found = recover(lambda sequences: [float(sum(s)) for s in sequences], [1, 2, 3])
    assert found.surrogate.values.tolist() == [1.0, 2.0, 3.0]
