"""Every number of every curve, written down for a model that adds up its tokens."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lrp_hooks import ArgumentError, NonFiniteError, TargetError, faithfulness
from lrp_hooks.faithfulness.protocol import PROTOCOLS, Protocol, probability
from lrp_hooks.results.explanation import Explanation

WEIGHTS = [0.0, 2.0, -1.0, 0.5, 0.0]  # of each token id; 0 replaces
IDS = torch.tensor([[1, 2, 3, 4]])
SCORES = torch.tensor([[2.0, -1.0, 0.5, 0.0]])
WHOLE = 1.5


class Sums(nn.Module):
    """Two logits, half the sum of the weights and its negative: p = sigmoid(sum)."""

    def __init__(self, weights=WEIGHTS):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights).double())

    def forward(self, input_ids):
        half = self.weights[input_ids].sum(1) / 2
        return torch.stack([half, -half], 1)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


TENTHS = [i / 10 for i in range(11)]
# What is left of the sum at each step, by hand: tokens leave in the order 2, .5, 0, -1.
LEFT = {
    "activation": [0, 2, 2, 2.5, 2.5, 2.5, 2.5, 2.5, 1.5, 1.5, 1.5],
    "pruning": [1.5, 1.5, 1.5, 1, 1, 1, 2, 2, 0, 0, 0],
    "sufficiency": [2, 2, 2, 2, 2.5],
    "comprehensiveness": [-0.5, -0.5, -0.5, -0.5, -1],
    "deletion": [1.5, 1.5, 1.5, -0.5, -0.5, -1, -1, -1, -1, -1, 0],
    "lerf": [1.5, 1.5, 1.5, 2.5, 2.5, 2.5, 2.5, 2.5, 2, 2, 0],
}


def probabilities(name):
    return [sigmoid(x) for x in LEFT[name]]


def lost(name):
    return [sigmoid(WHOLE) - p for p in probabilities(name)]


def trapezoid(values):
    return 0.1 * (sum(values) - (values[0] + values[-1]) / 2)


VALUES = {
    "activation": probabilities("activation"),
    # Both logits move by half of what the sum moves by.
    "pruning": [(WHOLE - x) ** 2 / 2 for x in LEFT["pruning"]],
    "aopc": lost("deletion")[:10],
    "accuracy": [float(x > 0) for x in LEFT["deletion"][:10]],
    "log_odds": [math.log(p / sigmoid(WHOLE)) for p in probabilities("deletion")[:10]],
    "comprehensiveness": lost("comprehensiveness"),
    "sufficiency": lost("sufficiency"),
    "deletion": probabilities("deletion"),
    "insertion": probabilities("activation"),
    "lerf_morf": [
        p - q
        for p, q in zip(probabilities("lerf"), probabilities("deletion"), strict=True)
    ],
}
SCORE = {
    "pruning": 0.1 * (3 * 0 + 3 * 0.125 + 2 * 0.125 + 2.5 * 1.125),
    "aopc": sum(VALUES["aopc"][1:]) / 9,
    "accuracy": 2 / 9,
    "log_odds": sum(VALUES["log_odds"][1:]) / 9,
    "comprehensiveness": sum(VALUES["comprehensiveness"]) / 5,
    "sufficiency": sum(VALUES["sufficiency"]) / 5,
    **{
        name: trapezoid(VALUES[name])
        for name in ("activation", "deletion", "insertion", "lerf_morf")
    },
}
FRACTIONS = {
    **dict.fromkeys(VALUES, TENTHS),
    **dict.fromkeys(("aopc", "accuracy", "log_odds"), TENTHS[:10]),
    **dict.fromkeys(("comprehensiveness", "sufficiency"), [0.01, 0.05, 0.1, 0.2, 0.5]),
}
every_metric = pytest.mark.parametrize("name", VALUES)


def test_the_table_names_every_metric():
    assert tuple(VALUES) == faithfulness.METRICS
    assert all(name in faithfulness.__all__ for name in VALUES)


@every_metric
def test_values_fractions_and_score(name):
    metric = getattr(faithfulness, name)
    assert repr(metric) == f"faithfulness.{name}"
    found = metric(Sums(), IDS, SCORES, 0, 0)
    assert found.values[0].tolist() == pytest.approx(VALUES[name], abs=1e-14)
    assert found.fractions.tolist() == pytest.approx(FRACTIONS[name], abs=1e-15)
    assert found.score.tolist() == pytest.approx([SCORE[name]], abs=1e-14)
    assert found.values.dtype == found.fractions.dtype == torch.float64
    assert_close(found.mean, found.values[0])


@every_metric
def test_the_other_class_counts_its_own_probability(name):
    found = getattr(faithfulness, name)(Sums(), IDS, SCORES, [1], 0).values[0]
    ours = torch.tensor(VALUES[name], dtype=torch.float64)
    if name in {"activation", "deletion", "insertion", "accuracy"}:
        assert_close(found, 1 - ours)
    elif name == "log_odds":
        p = sigmoid(WHOLE) * ours.exp()
        assert_close(found, ((1 - p) / (1 - sigmoid(WHOLE))).log())
    else:
        assert_close(found, ours if name == "pruning" else -ours)


def test_all_metrics_at_once_and_in_the_order_asked_for():
    every = faithfulness.measure(Sums(), IDS, SCORES, 0, 0)
    assert tuple(every) == faithfulness.METRICS
    for name, curve in every.items():
        assert curve.values[0].tolist() == pytest.approx(VALUES[name], abs=1e-14)
    some = faithfulness.measure(Sums(), IDS, SCORES, 0, 0, ("pruning", "aopc"))
    assert list(some) == ["pruning", "aopc"]
    assert list(faithfulness.measure(Sums(), IDS, SCORES, 0, 0, "aopc")) == ["aopc"]


def counted(protocol, n, published=False):
    """How many of n places go or come at each step."""
    free = torch.ones(1, n, dtype=torch.bool)
    kept = protocol.kept(torch.zeros(1, n), free, ~free, published)
    return (kept if protocol.restore else ~kept).sum(2)[0].tolist()


ROUNDING = dict.fromkeys(PROTOCOLS, math.ceil) | dict.fromkeys(
    ("aopc", "accuracy", "log_odds", "deletion", "lerf_morf"), math.floor
)


@every_metric
def test_numbers_of_places_are_exact(name):
    shares = [Fraction(round(100 * x), 100) for x in FRACTIONS[name]]
    for protocol in PROTOCOLS[name]:
        for n in range(1, 65):
            assert counted(protocol, n) == [ROUNDING[name](s * n) for s in shares]


@every_metric
def test_published_numbers_of_places_are_those_of_numpy(name):
    if len(FRACTIONS[name]) == 5:
        return  # shares that the code has as decimals
    shares = np.linspace(0, 1, 11)[: len(FRACTIONS[name])]
    rounded = np.ceil if ROUNDING[name] is math.ceil else np.floor
    noisy = 0
    for protocol in PROTOCOLS[name]:
        for n in range(3, 65):
            right = rounded(shares * n).astype(int).tolist()
            assert counted(protocol, n, published=True) == right
            noisy += right != counted(protocol, n)
    if name in {"activation", "pruning"}:
        assert noisy == 12  # of the lengths 3 to 64


def test_of_equal_scores_the_first_comes_first():
    free = torch.tensor([[True, True, False, True, True]])
    scores = torch.tensor([[0.0, -0.0, 0.0, 0.0, 0.0]])
    for order in ("largest", "smallest", "faintest"):
        kept = Protocol(probability, (0, 25, 50, 75, 100), order).kept(
            scores, free, ~free, False
        )
        assert (~kept)[0].long().tolist() == [
            [0, 0, 0, 0, 0],
            [1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0],
            [1, 1, 0, 1, 0],
            [1, 1, 0, 1, 1],
        ]


class Fixed(nn.Module):
    """Says what the weights of the first token's id say; of several labels, maybe."""

    def __init__(self, rows, several=False):
        super().__init__()
        self.rows = torch.tensor(rows).double()
        if several:
            self.config = type("Config", (), {})()
            self.config.problem_type = "multi_label_classification"

    def forward(self, input_ids):
        return self.rows[input_ids[:, 0]]


@pytest.mark.parametrize(
    ("rows", "several", "whole", "empty"),
    [
        ([[-1.0], [2.0]], False, sigmoid(2), sigmoid(-1)),
        ([[-1.0, 9.0], [2.0, 5.0]], True, sigmoid(2), sigmoid(-1)),
        ([[-1.0, 9.0], [2.0, 5.0]], False, sigmoid(-3), sigmoid(-10)),
    ],
)
def test_one_logit_and_several_labels_are_read_by_sigmoid(rows, several, whole, empty):
    ids, scores = torch.tensor([[1, 1]]), torch.tensor([[1.0, 0.0]])
    model = Fixed(rows, several)
    found = faithfulness.activation(model, ids, scores, 0, 0)
    assert found.values[0, 0].item() == pytest.approx(empty, rel=1e-12)
    assert found.values[0, -1].item() == pytest.approx(whole, rel=1e-12)
    lost = faithfulness.comprehensiveness(model, ids, scores, 0, 0)
    assert lost.values[0].tolist() == pytest.approx([whole - empty] * 5, rel=1e-12)
    right = faithfulness.accuracy(model, ids, scores, 0, 0).values[0]
    by_sigmoid = several or len(rows[0]) == 1
    # One of two places may go from .5 on, and is the one that is read.
    expected = [float(by_sigmoid)] * 5 + [0.0] * 5
    assert right.tolist() == expected


BAD_SCORES = {
    "nan": (torch.tensor([[0.0, torch.nan, 0, 0]]), NonFiniteError, "example 0"),
    "infinite": (torch.tensor([[0.0, 0, 0, -torch.inf]]), NonFiniteError, "example 0"),
    "short": (torch.zeros(1, 3), ArgumentError, r"\(3,\).*\(1, 4\)"),
    "rows": (torch.zeros(2, 4), ArgumentError, r"\(2, 4\).*\(1, 4\)"),
    "short rows": (torch.zeros(2, 3), ArgumentError, r"\(3,\).*\(1, 4\)"),
    "flat": (torch.zeros(4), ArgumentError, r"\(4,\).*\[B, T\]"),
    "by dimension": (torch.zeros(1, 4, 2), ArgumentError, r"\(4, 2\)"),
    "a list": ([[0.0, 1, 2, 3]], ArgumentError, "list.*tensor"),
    "objects": (np.array([[None] * 4]), ArgumentError, "object.*tensor"),
    "an explanation": (
        Explanation(scores=SCORES, output=torch.zeros(1)),
        ArgumentError,
        r"Explanation.*\.scores",
    ),
}


@pytest.mark.parametrize("name", ["aopc", "pruning"])
@pytest.mark.parametrize("case", BAD_SCORES)
def test_scores_that_order_nothing_are_refused(name, case):
    scores, error, message = BAD_SCORES[case]
    with pytest.raises(error, match=f"(?s)^scores.*{message}"):
        getattr(faithfulness, name)(Sums(), IDS, scores, 0, 0)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (2, "2 to 2.*2 outputs, 0 to 1"),
        (-1, "-1 to -1.*0 to 1"),
        (0.0, "float32.*whole numbers"),
        (True, "bool.*whole numbers"),
        ([0, 1], r"shape \(2,\).*each of 1 examples"),
        (torch.zeros(1, 1).long(), r"shape \(1, 1\)"),
        ("positive", "'positive'"),
        (None, "None"),
        ([], "shape"),
    ],
)
def test_targets_that_are_no_classes_are_refused(target, message):
    with pytest.raises(TargetError, match=f"(?s)^target.*{message}"):
        faithfulness.aopc(Sums(), IDS, SCORES, target, 0)


def test_arrays_and_labels_are_understood():
    model = Sums()
    model.config = type("Config", (), {"label2id": {"bad": 0, "good": 1}})()
    right = faithfulness.aopc(model, IDS, SCORES, 1, 0).values
    for target in ("good", np.array([1]), torch.tensor(1), [1], np.int64(1)):
        found = faithfulness.aopc(model, IDS, SCORES.numpy(), target, 0)
        assert torch.equal(found.values, right)


def test_metrics_that_do_not_exist_are_refused():
    with pytest.raises(ArgumentError, match="'aopx'.*activation.*mean 'aopc'"):
        faithfulness.measure(Sums(), IDS, SCORES, 0, 0, ("aopx",))
    with pytest.raises(ArgumentError, match="metrics is empty.*activation"):
        faithfulness.measure(Sums(), IDS, SCORES, 0, 0, ())
