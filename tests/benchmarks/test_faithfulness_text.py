"""The text benchmark: paired orderings, ranks of the search, and its tables."""

import json

import pytest
import torch

from benchmarks.faithfulness import orderings
from benchmarks.faithfulness.report import TABLES
from benchmarks.faithfulness.text.run import choose, rounded
from shared_models import sentiment


def scores(**by_method):
    return {
        (method, "activation"): torch.tensor(values, dtype=torch.float64)
        for method, values in by_method.items()
    }


def test_an_advantage_is_the_mean_paired_difference():
    found = orderings.compare(
        scores(a=[0.5, 0.7, 0.9], b=[0.4, 0.6, 0.8]), [("a", "b")], ["activation"]
    )
    (entry,) = found
    assert entry["advantage"] == pytest.approx(0.1)
    # Every difference is 0.1, so every resample's mean is.
    assert entry["low"] == pytest.approx(0.1) and entry["high"] == pytest.approx(0.1)
    assert orderings.verdict(entry) == "ahead"


def test_lower_is_better_for_some_metrics():
    values = {k: torch.tensor([v, v]).double() for k, v in {"a": 1.0, "b": 3.0}.items()}
    found = orderings.compare(
        {(name, "pruning"): value for name, value in values.items()},
        [("a", "b"), ("b", "a")],
        ["pruning"],
    )
    assert [entry["advantage"] for entry in found] == [2.0, -2.0]
    assert [orderings.verdict(entry) for entry in found] == ["ahead", "behind"]


def test_an_interval_around_zero_is_open():
    found = orderings.compare(
        scores(a=[1.0, 0.0] * 20, b=[0.0, 1.0] * 20), [("a", "b")], ["activation"]
    )
    assert orderings.verdict(found[0]) == "open"


def test_what_was_not_measured_is_left_out():
    claims = [("a", "c"), ("a", "b")]
    found = orderings.compare(scores(a=[1.0], b=[0.0]), claims, ["activation", "aopc"])
    assert [(e["better"], e["worse"], e["metric"]) for e in found] == [
        ("a", "b", "activation")
    ]


def test_rows_are_arranged_by_method_and_metric():
    rows = [
        {"row": r, "method": m, "sign": s, "metric": "aopc", "score": 10.0 * r + n}
        for r in range(2)
        for n, (m, s) in enumerate([
            ("a", "signed"),
            ("a", "absolute"),
            ("b", "signed"),
        ])
    ]
    found = {key: own.tolist() for key, own in orderings.of_rows(rows).items()}
    assert found == {("a", "aopc"): [0.0, 10.0], ("b", "aopc"): [2.0, 12.0]}


def test_texts_are_chosen_by_seed_and_length(tmp_path):
    import pandas as pd

    (tmp_path / "data").mkdir()
    table = pd.DataFrame({
        "text": ["a", "a b c d e f", "b", "c"],
        "label": [0, 1, 0, 1],
    })
    table.to_parquet(tmp_path / "data" / "some.parquet")
    _, tokenizer = sentiment()
    own = {"data": "some.parquet", "text": "text", "longest": 4, "limit": 2}
    texts, labels, about = choose(own, {"seed": 3}, tmp_path, tokenizer)
    assert about == {"rows": 4, "short enough": 3, "chosen": 2}
    assert all(
        labels[i] == {"a": 0, "b": 0, "c": 1}[text] for i, text in enumerate(texts)
    )
    assert choose(own, {"seed": 3}, tmp_path, tokenizer)[0] == texts


def test_numbers_are_rounded_to_six_digits():
    value = {"a": [1 / 3, 12345678.9], "b": "x", "c": 7}
    assert rounded(value) == {"a": [0.333333, 12345700.0], "b": "x", "c": 7}


@pytest.mark.parametrize("name", TABLES)
def test_a_readme_shows_the_committed_results(name):
    readme, results, table = TABLES[name]
    page = readme.read_text(encoding="utf-8")
    start, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    shown = page.partition(start)[2].partition(end)[0].strip()
    assert shown == table(json.loads(results.read_text(encoding="utf-8"))).strip()
