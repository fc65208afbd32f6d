"""Published orderings beside ours: by hand, and what the tables say of them."""

import pytest
import torch

from benchmarks.faithfulness.orderings import AT_ITS_PROTOCOL, ELSEWHERE, verdict
from benchmarks.papers import published, report
from benchmarks.papers.ali.report import REPORT as ALI
from benchmarks.papers.attention import report as attention_report
from benchmarks.papers.decompx.report import REPORT as DECOMPX
from benchmarks.papers.page import results
from benchmarks.papers.reasons import MISSING, reasons, why
from benchmarks.papers.slalom import report as slalom_report

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


@pytest.mark.parametrize(("size", "said"), [(4e-4, "open"), (6e-4, "same")])
def test_a_difference_that_rounds_to_nothing_is_none(size, said):
    ours = {"a": torch.zeros(9), "b": torch.full((9,), size)}
    entry = published.row(SETTING, "AUAC", "higher", {"a": 0.0, "b": 1.0}, ours)
    (pair,) = entry["orderings"]
    assert pair["low"] > 0
    assert published.said(entry, pair) == said


def made():
    ours = {"mine": torch.ones(6), "old": torch.zeros(6), "new": torch.ones(6) / 2}
    paper = {"mine": 0.9, "old": 0.95}
    return published.row(SETTING, "AUAC", "higher", paper, ours)


def test_every_line_says_how_it_was_measured():
    entry = made()
    assert entry["n"] == 6
    line = published.claims([entry], "mine").splitlines()[-1]
    said = [cell.strip() for cell in line.strip("|").split("|")]
    assert said == [
        *["toy", "tiny", "0.750", "6", "the LayerNorm", "the label", "[UNK]"],
        *["AUAC", "old", "mine", "+0.050", "-1.000 [-1.000, -1.000]", "reversed"],
    ]
    last = published.counts([entry]).splitlines()[-1]
    assert last.endswith("| AUAC | 0 | 0 | 1 |")


def test_the_published_score_stands_above_ours():
    lines = published.scores([made()]).splitlines()
    assert lines[0] == "| data | model, read-out | metric | whose | mine | old | new |"
    assert (
        lines[2] == "| toy | tiny, the LayerNorm | AUAC ↑ | paper | 0.900 | 0.950 |  |"
    )
    assert lines[3].startswith(
        "| toy | tiny, the LayerNorm | AUAC ↑ | here, n = 6 | 1.000 ±0.000"
    )


def test_only_claims_of_the_method_are_listed():
    assert len(published.claims([made()], "other").splitlines()) == 2


def test_what_is_reversed_has_the_first_reason_that_fits():
    known = [
        {"metric": ["AUPC"], "why": "of another metric"},
        {"worse": ["mine"], "data": ["toy", "tiny"], "why": "it is a toy"},
        {"why": "of everything"},
    ]
    entry = made()
    (pair,) = entry["orderings"]
    assert why(entry, pair, known) == ("it is a toy", "")
    assert why(entry, pair, known[:1]) == (MISSING, "")
    said, _ = why(entry, pair, known[:1], ELSEWHERE)
    assert said == "not the paper's protocol, see above"
    line = reasons([entry], known).splitlines()[-1]
    assert line == (
        "| toy | tiny, the LayerNorm | AUAC | reversed | old > mine (-1.000) | "
        "it is a toy |"
    )


def test_so_few_examples_that_they_may_agree_by_chance_tell_nothing():
    ours = {"mine": torch.ones(5), "old": torch.zeros(5)}
    entry = published.row(SETTING, "AUAC", "higher", {"mine": 0.95, "old": 0.9}, ours)
    assert entry["orderings"][0]["low"] > 0
    assert published.counts([entry]).splitlines()[-1].endswith("| AUAC | 0 | 1 | 0 |")
    assert published.claims([entry], "mine").splitlines()[-1].endswith("| open |")
    assert "fewer than 6 examples tell nothing" in reasons([entry], [])
    # Of six, one half of all signs would agree in one of 32 cases.
    assert 2 * 0.5**published.FEWEST < 0.05 < 2 * 0.5 ** (published.FEWEST - 1)


def test_what_is_open_says_how_many_examples_would_tell():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(100, generator=generator).double()
    noise -= noise.mean()
    paper = {"a": 1.0, "b": 0.0}
    entry = {"n": 100}
    for advantage, spread in ((0.05, 1.0), (0.0, 1.0), (0.0005, 0.004)):
        ours = {"a": advantage + spread * noise, "b": torch.zeros(100).double()}
        (pair,) = published.orderings(paper, ours, "higher")
        text, more = why(entry, pair, [])
        if spread < 1:
            assert (text, more) == ("the difference is under 0.01", "")
        elif advantage:
            # The interval shrinks with the root of n until it leaves 0.
            half = 1.96 * float(noise.std()) / 10
            needed = int(more.strip("; ").replace(",", ""))
            assert needed == pytest.approx(100 * (half / advantage) ** 2, rel=0.2)
        else:
            assert more == "; over 100,000"


@pytest.mark.parametrize("one", [ALI, DECOMPX])
def test_every_reversed_ordering_has_a_reason(one):
    assert MISSING not in one.table()


def test_the_index_counts_every_ordering_once():
    text = report.table()
    assert text in report.README.read_text(encoding="utf-8")
    head, _, *lines = (line.strip("| ").split(" | ") for line in text.splitlines())
    assert head[5:] == [*AT_ITS_PROTOCOL, *ELSEWHERE]
    total = sum(
        int(cell or 0) for line in text.splitlines()[2:] for cell in cells(line)[5:]
    )
    rows = [r for one in (ALI, DECOMPX) for r in rows_of(one)]
    rows += [*slalom_report.rows(), *attention_report.rows()]
    assert total == sum(len(row["orderings"]) for row in rows)
    assert {line[0] for line in lines} == {
        *("Ali et al.", "DecompX", "SLALOM", "Lopardo et al.")
    }


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def rows_of(one):
    return [row for found in results(one.folder).values() for row in found["rows"]]
