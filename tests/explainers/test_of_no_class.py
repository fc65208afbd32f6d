"""Methods whose scores are the same for every class say that they explain none."""

import pytest
import torch

from lrp_hooks import compare, explain, explainers

TEXT = "a gripping, funny film"


def about(sentiment, method, target):
    options = {"n_samples": 64} if method in {"slalom", "lime", "kernel_shap"} else {}
    return explain(
        sentiment.model, TEXT, method, sentiment.tokenizer, target, **options
    )


@pytest.mark.parametrize("method", explainers.names())
@pytest.mark.filterwarnings("ignore")
def test_what_is_said_is_what_is_measured(sentiment, method):
    both = [about(sentiment, method, target) for target in (0, 1)]
    differs = not torch.equal(both[0].scores, both[1].scores)
    assert both[0].meta.get("class_specific", True) == differs
    for found in both:
        for shown in (found.to_terminal(colour=False), found.to_html()):
            assert ("of no class" in shown) != differs


def test_decompx_that_stops_before_the_classes(sentiment):
    found = explain(
        sentiment.model,
        TEXT,
        "decompx",
        sentiment.tokenizer,
        include_classifier=False,
    )
    assert found.targets == [""]
    assert "target" not in found.to_terminal(colour=False)


def test_beside_others(sentiment):
    found = compare(
        sentiment.model, TEXT, ["lrp", "globenc"], tokenizer=sentiment.tokenizer
    )
    assert found.notes == {"globenc": "its scores are of no class"}
    assert "globenc: its scores are of no class" in found.to_terminal(colour=False)


def test_by_windows(sentiment):
    found = explain(
        sentiment.model,
        " ".join([TEXT] * 60),
        "alti",
        sentiment.tokenizer,
        stride=16,
    )
    assert "windows" in found.meta
    assert "of no class" in found.to_terminal(colour=False)
