"""Relevance and its ledger: sums that must hold whatever the numbers are."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from hand_built import calm, relevance, seeds
from lrp_hooks import ArgumentError, Contrast, Ledger

SHARES = ("site", "equal", "first", "abs")


def ledger(inputs, sources, output):
    rows = {name: torch.tensor(values) for name, values in sources.items()}
    return Ledger(torch.tensor(inputs), rows, {}, torch.tensor(output))


@calm
@given(seeds, st.integers(1, 4), st.integers(1, 7), st.booleans())
def test_complete_gives_everything_back(seed, batch, length, image):
    found = relevance(batch, length, seed, image=image)
    for bias in SHARES:
        scores = found.complete(bias)
        assert scores.shape == found.scores.shape
        assert scores.dtype == found.scores.dtype
        assert_close(scores.flatten(1).sum(1), found.ledger.total)


@calm
@given(seeds)
def test_complete_leaves_padding_at_zero(seed):
    found = relevance(seed=seed)
    for bias in (*SHARES, "none"):
        assert (found.complete(bias)[~found.attended] == 0).all()


def test_complete_none_is_the_scores():
    found = relevance()
    assert torch.equal(found.complete("none"), found.scores)


def test_site_places_each_source_where_it_was_added():
    found = relevance()
    placed = sum(found.ledger.positions.values())
    floating = (
        found.ledger.sources["classifier.bias"]
        + found.ledger.sources["layer.0.softmax"]
    )
    share = floating / found.attended.sum(1)
    expected = found.scores + placed + share[:, None] * found.attended
    assert_close(found.complete(), expected)


def test_site_shares_equally_what_has_another_length():
    found = relevance()
    found.ledger.positions.clear()
    assert_close(found.complete("site"), found.complete("equal"))


def test_site_keeps_off_padding_what_was_added_there():
    found = relevance()
    found.ledger.positions["layer.0.value.bias"][1, -1] = 3.0
    scores = found.complete()
    assert scores[1, -1] == 0
    assert_close(scores.sum(1), found.ledger.total)


def test_first_is_the_first_attended_position():
    found = relevance()
    found.attended[1] = torch.tensor([False, False, True, True, True])
    given_back = found.complete("first") - found.scores
    assert_close(given_back.sum(1), found.ledger.total - found.scores.sum(1))
    assert (given_back[0, 1:] == 0).all()
    assert (given_back[1, [0, 1, 3, 4]] == 0).all()


def test_abs_is_proportional():
    found = relevance()
    ratio = (found.complete("abs") - found.scores)[0] / found.scores[0].abs()
    assert_close(ratio, ratio[:1].expand_as(ratio))


def test_abs_of_nothing_is_equal():
    found = relevance()
    found.scores = torch.zeros_like(found.scores)
    assert_close(found.complete("abs"), found.complete("equal"))


def test_unknown_share_lists_the_valid_ones():
    with pytest.raises(ArgumentError, match="'site', 'equal', .* got 'nosuch'"):
        relevance().complete("nosuch")


def test_complete_of_several_tensors_says_what_to_do():
    found = relevance()
    found.scores = {"first": found.scores, "second": found.scores}
    with pytest.raises(ArgumentError, match="'first', 'second'.*wrt='first'"):
        found.complete()


@calm
@given(seeds)
def test_ledger_groups_add_up(seed):
    found = relevance(seed=seed).ledger
    assert_close(sum(found.groups.values()), found.total)
    assert_close(found.total, found.output)
    assert (found.error <= 1e-12).all()


def test_groups_by_name():
    names = {
        "inputs": [],
        "positions": ["wpe.weight", "embeddings.token_type_embeddings", "cls_token"],
        "biases": ["embeddings.LayerNorm.bias", "mlp.in_proj_bias"],
        "softmax": ["layer.0.self.softmax"],
        "other": ["logit_scale"],
    }
    sources = {name: [1.0] for members in names.values() for name in members}
    groups = ledger([0.5], sources, [7.0]).groups
    assert list(groups) == list(names)
    assert [groups[kind].item() for kind in names] == [0.5, 3.0, 2.0, 1.0, 1.0]


def test_error_is_relative_to_the_larger_of_output_and_terms():
    rows = {"bias": [1.0, -4.0, 0.0], "softmax": [2.0, 0.0, 0.0]}
    found = ledger([3.0, 4.0, 0.0], rows, [12.0, 1.0, 0.0])
    assert found.total.tolist() == [6.0, 0.0, 0.0]
    assert found.error.tolist() == [0.5, 0.125, 0.0]


def test_sums_are_taken_in_float64():
    found = ledger([1e8], {"a": [1.0], "b": [-1e8]}, [1.0])
    assert found.total.dtype == torch.float32
    assert found.total.item() == 1.0
    assert found.error.item() == 0.0


def test_a_ledger_without_sources():
    found = ledger([1.0, 2.0], {}, [1.0, 4.0])
    assert found.total.tolist() == [1.0, 2.0]
    assert found.error.tolist() == [0.0, 0.5]
    assert list(found.groups) == ["inputs", "positions", "biases"]


def test_the_table_has_a_line_for_each_kind():
    lines = repr(relevance().ledger).splitlines()
    first = [line.split()[0] for line in lines[1:]]
    kinds = ["inputs", "positions", "biases", "softmax", "total", "output", "error"]
    assert first == kinds
    assert lines[0] == "Ledger of 4 sources"


def test_repr_names_targets():
    found = relevance(meta={"labels": {1: "positive"}})
    found.output = torch.tensor([0.5, -2.0])
    assert repr(found) == (
        "Relevance(method='lrp', scores=[2, 5], targets=['positive', 'positive'], "
        "output=[0.5, -2])"
    )


@pytest.mark.parametrize(
    ("target", "names"),
    [
        (0, ["no", "no"]),
        ([0, 1], ["no", "yes"]),
        ((1, 7), ["yes", "7"]),
        (torch.tensor([1, 0]), ["yes", "no"]),
        (torch.tensor(1), ["yes", "yes"]),
        ("free", ["free", "free"]),
        (torch.sum, ["sum", "sum"]),
        (None, ["", ""]),
        (Contrast(1, 0), ["yes rather than no"] * 2),
        (
            Contrast(torch.tensor([1, 0]), [0, 7]),
            ["yes rather than no", "no rather than 7"],
        ),
    ],
)
def test_targets_by_name(target, names):
    found = relevance(target=target, meta={"labels": {0: "no", 1: "yes"}})
    assert found.targets == names
