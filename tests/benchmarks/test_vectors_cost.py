import json

import pytest

from benchmarks.cost.methods import methods_of
from benchmarks.vectors import report, run, selective
from benchmarks.vectors.decomposition import ONE_CLASS, VECTORS
from benchmarks.vectors.maps import MAPS, RELEVANCE

NAMES = "threads cores cpu python torch transformers lrp_hooks".split()


def fake(**methods):
    entry = {
        "model": "m",
        "batch": 1,
        "length": 32,
        "seconds": {"forward": [1.0, 2.0], **methods},
        "peak_bytes": dict.fromkeys(methods, 10 << 20),
    }
    return {
        "date": "today",
        "environment": dict.fromkeys(NAMES, "x"),
        "cases": {"m": entry},
    }


def test_the_tables_show_medians():
    vectors = fake(**{ONE_CLASS: [2.0, 4.0], VECTORS: [16.0, 32.0]})
    assert "| m | 1 x 32 | 1.00 | 2.00 | 16 | 0.50 | 10 |" in report.table(
        "vectors", vectors
    )
    maps = fake(**{RELEVANCE: [2.0, 4.0], MAPS: [16.0, 32.0]})
    assert "| m | 1 x 32 | 1.00 | 2.00 | 16 | 16 | 10 |" in report.table("maps", maps)


@pytest.mark.parametrize("part", run.PARTS)
def test_the_page_shows_the_committed_results(part):
    results = json.loads(report.RESULTS[part].read_text(encoding="utf-8"))
    assert results["config"] == run.load(quick=False)[part]
    assert list(methods_of(results["config"])) == list(
        next(iter(results["cases"].values()))["seconds"]
    )
    assert report.table(part, results) in report.README.read_text(encoding="utf-8")


def test_the_page_shows_how_mamba_lrp_differs():
    results = json.loads(selective.RESULTS.read_text(encoding="utf-8"))
    config = json.loads(selective.CONFIG.read_text(encoding="utf-8"))
    assert results["config"] == config["selective"]
    assert selective.table(results) in report.README.read_text(encoding="utf-8")
