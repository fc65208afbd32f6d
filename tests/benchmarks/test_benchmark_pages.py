"""Every benchmark has a page beside its code, and a line in the index."""

import json
from pathlib import Path

import pytest

from benchmarks.functions import run as functions
from benchmarks.generation import report as generation
from benchmarks.nets import run as nets
from benchmarks.relp import report as relp

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_every_benchmark_has_a_page_and_a_line():
    index = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    for results in BENCHMARKS.rglob("results.json*"):
        page = results.with_name("README.md")
        assert page.is_file(), page
        assert f"]({page.relative_to(BENCHMARKS).as_posix()})" in index


def test_no_table_stands_in_the_index():
    assert ":begin -->" not in (BENCHMARKS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("report", [functions, generation, nets, relp])
def test_a_page_shows_the_committed_results(report):
    results = json.loads(report.RESULTS.read_text(encoding="utf-8"))
    assert report.table(results) in report.README.read_text(encoding="utf-8")
