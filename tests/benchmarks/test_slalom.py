"""The SLALOM benchmark's arithmetic, on fakes; and its tables, on what it measured."""

import json

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from benchmarks.slalom import methods, ranks, report


def test_equal_values_share_their_rank():
    found = ranks.ranks(torch.tensor([3.0, 1.0, 3.0, 2.0]))
    assert found.tolist() == [3.5, 1, 3.5, 2]


def test_correlation_of_ranks_sees_order_alone():
    a = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert ranks.spearman(a, a.exp()) == pytest.approx(1)
    assert ranks.spearman(a, -a) == pytest.approx(-1)
    assert ranks.spearman(a, torch.zeros(4)) == 0


def test_auroc_is_the_chance_of_the_right_order():
    marked = torch.tensor([True, False, True, False, False])
    scores = torch.tensor([2.0, 1.0, 1.0, 0.0, 3.0])
    # Of six pairs three are right, two wrong and one is a tie.
    assert ranks.auroc(scores, marked) == pytest.approx(3.5 / 6)


@pytest.mark.parametrize(
    ("mine", "other", "wins", "p"),
    [
        ([1, 1, 1, 1], [2, 2, 2, 2], 4, 0.125),
        ([2, 2, 2, 2], [1, 1, 1, 1], 0, 0.125),
        ([1, 2, 5, 5], [2, 1, 5, 5], 1, 1.0),
        ([1] * 10, [2] * 9 + [0], 9, 22 / 1024),
    ],
)
def test_sign_test(mine, other, wins, p):
    assert ranks.sign_test(mine, other) == (wins, pytest.approx(p))


class Linear(nn.Module):
    """Log-odds that are a sum over tokens."""

    def forward(self, input_ids):
        odds = (input_ids.float() - 5).sum(1)
        logits = torch.stack([torch.zeros_like(odds), odds], 1)
        return type("Output", (), {"logits": logits})()


class Tokenizer:
    """Special ids of a small vocabulary."""

    all_special_ids, unk_token_id, pad_token_id = (0, 1, 2), 2, None


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_method_counts_its_calls_and_predicts(name):
    model, ids = methods.Clocked(Linear()), torch.tensor([[0, 3, 9, 4, 8, 7, 6, 1]])
    rows = [ids[0], ids[0, [0, 2, 3, 4, 7]], ids[0, [0, 1, 1, 3, 7]]]
    wanted = model.log_odds(rows)
    before = model.calls
    fitted = methods.METHODS[name](model, Tokenizer, ids, 60, 0)
    assert fitted.calls == model.calls - before
    assert 20 < fitted.calls <= 75
    found = fitted.predict(rows)
    assert found.shape == (3,)
    assert found.isfinite().all()
    if name in {"linear", "kernel-shap"}:  # additive, as this model is
        assert_close(found[0], wanted[0], rtol=0.1, atol=1)


def test_perturbations_keep_what_is_special():
    ids = torch.tensor([0, 3, 9, 4, 1])
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        short, left = methods.triple(ids, generator), methods.deleted(ids, generator)
        assert len(short) == 5
        assert 3 <= len(left) < 5
        for row in (short, left):
            assert (row[0], row[-1]) == (0, 1)


def fake(errors):
    made = {
        name: {"deletion": e, "short": 3 * e, "calls": 128, "seconds": 0.01}
        for name, e in errors.items()
    }
    return {
        "tokens": 20,
        "types": 15,
        "variance": {"deletion": 1.0, "short": 3.0},
        "methods": made,
    }


def test_errors_are_in_units_of_the_variance():
    names = [f"{name} {calls}" for name in report.LABELS for calls in (128, 512)]
    entries = {
        "sst2 1": fake(dict.fromkeys(names, 0.5) | {"slalom 128": 0.25}),
        "imdb 2": fake(dict.fromkeys(names, 0.5) | {"slalom 128": 0.75}),
    }
    results = {
        "config": {"calls": [128, 512]},
        "environment": {"torch": "x"},
        "date": "today",
        "fidelity": {"m": entries},
        "plausibility": {"m": {"sst2 1": {"lrp": 0.5}, "yelp 1": {"lrp": 0.25}}},
    }
    shown = report.table(results)
    assert "m, 2 texts (1 of sst2 and 1 of imdb) of 20 to 20 tokens" in shown
    assert (
        "| **SLALOM, default** | 128 | 0.50 | 0.50 | 0.50 | - | - | - | - | 10 |"
        in shown
    )
    assert (
        "| SLALOM-eff | 128 | 0.50 | 0.50 | 0.50 | 1 of 2 | 1 | 1 of 2 | 1 | 10 |"
        in shown
    )
    assert "| m | naive Bayes, Spearman | 1 | 0.500 |" in shown
    assert "| m | humans, AUROC | 1 | 0.250 |" in shown


def test_the_readme_shows_the_committed_results():
    results = json.loads(report.RESULTS.read_text(encoding="utf-8"))
    config = json.loads(
        report.RESULTS.with_name("config.json").read_text(encoding="utf-8")
    )
    assert results["config"] == config
    assert report.table(results) in report.README.read_text(encoding="utf-8")
