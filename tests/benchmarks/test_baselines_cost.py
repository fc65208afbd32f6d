import json

from benchmarks.baselines import run

FAKE = {
    "config": {"words": 9, "heads": 2},
    "date": "today",
    "environment": {"cpu": "x", "torch": "y"},
    "lime_limit": [0.9, 0.5],
    "cases": {
        "m 1x8": {
            "model": "m",
            "batch": 1,
            "length": 8,
            "seconds": {
                "forward": [1.0, 2.0, 4.0],
                run.MAPS: [1.1, 2.2, 4.8],
                run.ROLLOUT: [1.2, 2.4, 5.2],
                run.GAE: [2.6, 5.4, 9.0],
            },
        }
    },
}


def test_the_summary_shows_medians_and_targets():
    text = run.summary(FAKE)
    assert "| m | 1 x 8 | 1.10 | 1.20 | 2.60 |" in text
    assert "at most 2.60 forward passes (target 2.50, missed)" in text
    assert "9 words and 2 heads: 0.50 s of CPU time (target 1.00, met)" in text


def test_the_readme_shows_the_committed_results():
    results = json.loads(run.RESULTS.read_text(encoding="utf-8"))
    assert results["config"] == json.loads(run.CONFIG.read_text(encoding="utf-8"))
    assert run.summary(results) in run.README.read_text(encoding="utf-8")
