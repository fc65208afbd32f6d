import json

from benchmarks.overhead import run

FAKE = {
    "config": {
        "case": {"model": "m", "batch": 1, "length": 8},
        "threads": 1,
        "rules": "gradient",
    },
    "versions": {"torch": "x"},
    "seconds": {"plain": [1.0, 2.0, 4.0], "in a scope": [1.02, 2.2, 4.04]},
}


def test_the_ratio_is_the_median_over_rounds():
    assert "| m 1x8 | 2.000 | 1.020 |" in run.table(FAKE)
    assert "1.03 is kept" in run.table(FAKE)
    slow = FAKE | {"seconds": {"plain": [1.0], "in a scope": [1.5]}}
    assert "1.03 is missed" in run.table(slow)


def test_the_readme_shows_the_committed_results():
    results = json.loads(run.RESULTS.read_text(encoding="utf-8"))
    config = json.loads((run.HERE / "config.json").read_text(encoding="utf-8"))
    assert results["config"] == config
    assert run.table(results) in run.README.read_text(encoding="utf-8")
