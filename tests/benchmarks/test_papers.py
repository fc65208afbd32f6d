"""Published orderings beside ours: by hand, and what the tables say of them."""

import pytest
import torch

from benchmarks.faithfulness.orderings import AT_ITS_PROTOCOL, ELSEWHERE, verdict
from benchmarks.papers import published

SETTING = {
    "data": "toy",
    "model": "tiny",
    "accuracy": 0.75,
    "read_out": "the LayerNorm",
    "target": "the label",
    "replacement": "[UNK]",
}


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.1, 0.2, 0), (-0.1, 0.2, 1), (-0.2, -0.1, 2)]
)
def test_a_verdict_is_the_side_of_0_that_the_interval_is_on(low, high, said):
    entry = {"low": low, "high": high}
    assert verdict(entry, AT_ITS_PROTOCOL) == ("same", "open", "reversed")[said]
    assert verdict(entry) == ELSEWHERE[said]


@pytest.mark.parametrize(("better", "first"), [("higher", "b"), ("lower", "a")])
def test_the_papers_better_method_comes_first(better, first):
    ours = {"a": torch.zeros(9), "b": torch.ones(9)}
    (found,) = published.orderings({"a": 0.5, "b": 0.75}, ours, better)
    assert (found["better"], found["published"]) == (first, 0.25)
    assert found["advantage"] == found["low"] == found["high"] == 1
    assert verdict(found, AT_ITS_PROTOCOL) == "same"
    (other,) = published.orderings({"a": 0.75, "b": 0.5}, ours, better)
    assert other["advantage"] == -1
    assert verdict(other, AT_ITS_PROTOCOL) == "reversed"


def test_ties_and_what_was_not_measured_are_no_orderings():
    ours = {"a": torch.zeros(3), "b": torch.ones(3)}
    assert published.orderings({"a": 1.0, "b": 1.0, "c": 2.0}, ours, "higher") == []


def test_differences_are_paired():
    noise = torch.randn(40, generator=torch.Generator().manual_seed(0))
    ours = {"a": noise, "b": noise + 0.01}
    (found,) = published.orderings({"a": 0.0, "b": 1.0}, ours, "higher")
    assert found["low"] == pytest.approx(0.01, abs=1e-6)


def made():
    ours = {"mine": torch.ones(4), "old": torch.zeros(4), "new": torch.ones(4) / 2}
    paper = {"mine": 0.9, "old": 0.95}
    return published.row(SETTING, "AUAC", "higher", paper, ours)


def test_every_line_says_how_it_was_measured():
    entry = made()
    assert entry["n"] == 4
    line = published.claims([entry], "mine").splitlines()[-1]
    said = [cell.strip() for cell in line.strip("|").split("|")]
    assert said == [
        *["toy", "tiny", "0.750", "4", "the LayerNorm", "the label", "[UNK]"],
        *["AUAC", "old", "mine", "+0.050", "-1.000 [-1.000, -1.000]", "reversed"],
    ]
    last = published.counts([entry]).splitlines()[-1]
    assert last.endswith("| AUAC | 0 | none | old > mine (-1.000) |")


def test_the_published_score_stands_above_ours():
    lines = published.scores([made()]).splitlines()
    assert lines[0] == "| data | model, read-out | metric | whose | mine | old | new |"
    assert (
        lines[2] == "| toy | tiny, the LayerNorm | AUAC ↑ | paper | 0.900 | 0.950 |  |"
    )
    assert lines[3].startswith(
        "| toy | tiny, the LayerNorm | AUAC ↑ | here, n = 4 | 1.000 ±0.000"
    )


def test_only_claims_of_the_method_are_listed():
    assert len(published.claims([made()], "other").splitlines()) == 2
