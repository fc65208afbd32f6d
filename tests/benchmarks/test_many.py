"""The benchmark of data sets: the table shows the committed results."""

import json

import pytest

from benchmarks.many import report


def entry(method, size, seconds, batch=0):
    return {
        "method": method,
        "size": size,
        "batch": batch,
        "startup": 1.0,
        "seconds": seconds,
        "cpu": seconds,
        "peak_bytes": 2**20,
    }


def test_ratios_are_of_the_best_plain_loop():
    entries = [
        entry("plain", 100, 4, 16),
        entry("plain", 100, 2, 32),
        entry("explain_many", 100, 2.5),
    ]
    about = dict.fromkeys([
        "cpu",
        "python",
        "torch",
        "transformers",
        "lrp_hooks",
        "date",
    ])
    lines = report.table({"entries": entries, "environment": {**about, "ray": None}})
    rows = [line.split(" | ") for line in lines.splitlines()[2:4]]
    assert rows[0][1:5] == ["plain, batches of 32", "50", "1.00", "1.00"]
    assert rows[1][1:5] == ["explain_many", "40", "0.80", "1.25"]


def test_the_page_shows_the_committed_results():
    if not report.RESULTS.exists():
        pytest.fail("python -m benchmarks.many.run writes the results")
    results = json.loads(report.RESULTS.read_text(encoding="utf-8"))
    assert report.table(results) in report.README.read_text(encoding="utf-8")
