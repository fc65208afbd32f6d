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


def title_of(axes):
    return axes.get_title(loc="left") or axes.get_title()


@pytest.mark.parametrize("method", explainers.names())
@pytest.mark.filterwarnings("ignore")
def test_what_is_said_is_what_is_measured(sentiment, method):
    both = [about(sentiment, method, target) for target in (0, 1)]
    differs = not torch.equal(both[0].scores, both[1].scores)
    assert both[0].meta.get("class_specific", True) == differs
    for found in both:
        for shown in (found.to_terminal(colour=False), found.to_html()):
            assert ("of no class" in shown) != differs
        title = " ".join(title_of(found.plot().axes[0]).split())
        aside = "" if differs else " (of the output; scores are of no class)"
        assert title.startswith(f"{found.targets[0]}{aside} output ")


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


def test_in_a_figure_of_several(sentiment):
    methods = ["lrp", "attention_rollout", "saliency"]
    found = compare(sentiment.model, TEXT, methods, tokenizer=sentiment.tokenizer)
    for each in found.explanations.values():
        each.output = torch.tensor([0.0075230001])
    (target,) = found.explanations["lrp"].targets
    for width in (None, 3.3):
        axes = found.plot(width=width).axes
        titles = [" ".join(title_of(each).split()) for each in axes]
        assert [title for title in titles if title] == [
            f"{target} output +0.0075 lrp",
            f"{target} output +0.0075 attention_rollout (of no class)",
            f"{target} output +0.0075 saliency",
        ]


def test_in_a_figure_of_maps():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    found = compare(model, torch.rand(1, 1, 8, 8), ["saliency", "random_baseline"])
    for width in (None, 3.3, 2.0):
        figure = found.plot(width=width)
        figure.draw_without_rendering()
        titles = {title_of(axes): axes for axes in figure.axes}
        marked = [title for title in titles if "baseline\n(of no class)" in title]
        assert len(marked) == 1 and "of no class" not in "".join({*titles} - {*marked})
        drawn = titles[marked[0]].title.get_window_extent()
        assert drawn.y1 <= figure.bbox.y1


@pytest.mark.parametrize("width", [2.0, 3.3, 9.0])
def test_no_title_is_cut(sentiment, width):
    figure = about(sentiment, "attention_rollout", 1).plot(width=width)
    figure.draw_without_rendering()
    drawn = figure.axes[0]._left_title.get_window_extent()
    assert drawn.x1 <= figure.bbox.x1 and drawn.y1 <= figure.bbox.y1


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
