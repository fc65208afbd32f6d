"""Leemann et al.'s experiments: laws, Shapley values and metrics by hand, the page."""

from itertools import permutations
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from benchmarks.papers.slalom import budgets, real, report, surrogates, synthetic
from benchmarks.slalom.methods import Clocked
from benchmarks.slalom.texts import Case
from slalom_models import CLS, SEP, Exact, brute_force, special

IDS = torch.tensor([[CLS, *range(1, 16), SEP]])
CASE = Case("toy 0", IDS, torch.empty(0), torch.empty(0))


def test_linear_odds_are_sums_of_weights():
    law = synthetic.linear_law()
    rows, odds = law.draw(50, torch.Generator().manual_seed(0))
    weights = [w for _, w in synthetic.LINEAR.values()]
    for row, odd in zip(rows, odds, strict=True):
        wanted = sum(weights[i - synthetic.FIRST] for i in row.tolist())
        assert float(odd) == pytest.approx(wanted)


def test_slalom_odds_are_those_of_a_slalom():
    law, values, importances = synthetic.slalom_law(6, 0)
    rows, odds = law.draw(50, torch.Generator().manual_seed(0))
    assert {len(row) for row in rows} == set(range(1, 9))
    assert importances.mean().abs() < 1e-12
    v, s = (dict(enumerate(t.tolist(), synthetic.FIRST)) for t in (values, importances))
    for row, odd in zip(rows, odds, strict=True):
        assert float(odd) == pytest.approx(brute_force(row.tolist(), v, s))


def test_shapley_values_are_means_over_orders():
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(2**4, generator=generator).double()
    row = torch.tensor([2, 3, 4, 5])

    def odds(rows):
        return torch.stack([table[sum(2 ** (i - 2) for i in r.tolist())] for r in rows])

    table[0] = 0
    wanted = torch.zeros(4).double()
    orders = list(permutations(range(4)))
    for order in orders:
        for k, i in enumerate(order):
            before, after = (sum(2**j for j in order[:n]) for n in (k, k + 1))
            wanted[i] += (table[after] - table[before]) / len(orders)
    assert_close(surrogates.shapley(odds, row), wanted, rtol=0, atol=1e-5)


class Told(synthetic.Reader):
    """A reader that says what a law says."""

    def __init__(self, law):
        super().__init__(len(law.chances), 1, 8)
        self.law = law

    def ask(self, rows):
        return self.law.odds(synthetic.counted(rows, len(self.law.chances)))


def test_each_surrogate_is_exact_on_its_own_law():
    for law, name in (
        (synthetic.linear_law(), "linear"),
        (synthetic.slalom_law(6, 0)[0], "SLALOM"),
    ):
        generator = torch.Generator().manual_seed(1)
        rows, odds = law.draw(400, generator)
        fitted = surrogates.fit_surrogates(rows, odds, len(law.chances))
        new, truth = law.draw(50, generator)
        errors = {n: float((f(new) - truth).square().mean()) for n, f in fitted.items()}
        assert errors[name] < 1e-6
        assert min(e for n, e in errors.items() if n not in {name, "GAM"}) > 1e-3
        told = surrogates.shapley_recovery(Told(law), fitted, law, 2, 0)
        assert all(t[name] == pytest.approx(1) for t in told)


def test_parameters_of_an_exact_slalom_are_recovered():
    law, *truth = synthetic.slalom_law(6, 0)
    found = surrogates.recovered(Told(law), law, tuple(truth), 400, 1)
    names = ("values", "importances", "exact_values", "exact_importances")
    assert all(found[name] < 1e-3 for name in names)
    assert found["valid"] == 1


def test_a_small_transformer_learns():
    plan = {"train": 400, "epochs": 6, "batch": 20, "learning_rate": 5e-3, "width": 8}
    model, quality = synthetic.train(synthetic.linear_law(), 1, plan, 0)
    assert quality["accuracy"] > 0.65
    assert len(surrogates.flatness(model, 0)) == surrogates.COPIES
    short = torch.tensor([2, 3])
    both = model.ask([short, torch.arange(2, 9)])
    assert_close(both[:1], model.ask([short]), rtol=0, atol=1e-5)  # padding is nothing


def test_at_equal_calls_a_slalom_is_best_told_by_a_slalom():
    model = Clocked(Exact()).eval()
    settings = {"perturbations": 40, "seed": 0}
    found = budgets.measure(model, special(CLS, SEP), CASE, 120, settings)
    for law, kinds in budgets.LAWS.items():
        entry = found[law]
        assert entry["slalom"] < 1e-2 < entry["linear"]
        assert set(entry["by_kind"]["linear"]) == {"deletion", "short"}
        assert entry["calls"] <= 122
        errors = [entry["by_kind"]["slalom"][k] for k in kinds]
        assert entry["slalom"] == pytest.approx(sum(errors) / len(errors))


class Count(torch.nn.Module):
    """Log-odds that are a sum over tokens."""

    def forward(self, input_ids):
        odds = (input_ids.double() / 10 - 0.8).where(input_ids < CLS, 0.0).sum(1)
        return SimpleNamespace(logits=torch.stack([torch.zeros_like(odds), odds], 1))


def test_insertion_keeps_the_strongest():
    ids = torch.tensor([[CLS, 1, 15, 8, 12, SEP]])
    scores = torch.tensor([0, -0.7, 0.7, 0.0, 0.4, 0]).double()
    found = real._curves(Clocked(Count()), ids, scores, 1.0, 2)
    strong, weak = torch.tensor([0.7 + 0.4, -0.7 + 0.0]).double().sigmoid()
    assert found["insertion"] == pytest.approx(float(1 - strong))
    assert found["deletion"] == pytest.approx(float(1 - weak))
    alone = real._alone(Clocked(Count()), ids)
    assert_close(alone, scores[1:-1])


def test_the_page_shows_the_committed_results():
    assert report.table() in report.README.read_text(encoding="utf-8")
