"""Explanations in the hands of pandas, SHAP and Captum."""

import math
import sys
import warnings

import numpy as np
import pandas
import pytest
import torch
from captum.attr import visualization

from hand_built import HOSTILE, explanation, relevance
from lrp_hooks import AdditivityWarning, ArgumentError, Explanation, compare, explain
from shared_models import sentiment

TEXTS = ["a gripping, funny film", "bad"]
SUMS = "kernel_shap"


@pytest.fixture(scope="module")
def explained():
    """Two texts of different lengths, the second one padded."""
    model, tokenizer = sentiment()
    return explain(model, TEXTS, tokenizer=tokenizer, target="negative")


def test_a_row_for_each_token(explained):
    frame = explained.to_dataframe()
    assert list(frame.columns) == [
        *("method", "example", "target", "output"),
        *("position", "token", "special", "score"),
    ]
    assert frame.token.tolist() == [t for row in explained.tokens for t in row]
    for b, own in frame.groupby("example"):
        assert own.position.tolist() == list(range(len(explained.tokens[b])))
        assert own.score.tolist() == explained.scores[b, : len(own)].tolist()
        assert set(own.output) == {explained.output[b].item()}
        assert own.special.sum() == 2
    assert set(frame.target) == {"negative"}


def test_a_row_for_each_pixel():
    frame = relevance(image=True).to_dataframe()
    assert len(frame) == 2 * 5 * 2
    found = relevance(image=True).scores
    for row in frame.itertuples():
        assert row.score == found[row.example, row.row, row.column]


def test_a_column_says_which_scores_are_of_no_class():
    assert scored("globenc", {}).to_dataframe()["class_specific"].eq(False).all()
    model, tokenizer = sentiment()
    frame = compare(model, TEXTS, ["lrp", "globenc"], tokenizer).to_dataframe()
    own = frame.groupby("label")["class_specific"].unique()
    assert own["lrp"].tolist() == [True] and own["globenc"].tolist() == [False]
    assert frame["class_specific"].dtype == bool
    assert "class_specific" not in scored("lrp", {}).to_dataframe()


def test_several_tensors_are_told_apart():
    scores = {"left": torch.ones(1, 2), "right": torch.zeros(1, 3)}
    frame = Explanation(scores=scores, output=torch.ones(1)).to_dataframe()
    assert frame.input.tolist() == ["left"] * 2 + ["right"] * 3
    assert frame.score.sum() == 2


def test_shap_values_and_base_sum_to_the_output(explained):
    found = explained.to_shap()
    for b, tokens in enumerate(explained.tokens):
        one = found[b]
        assert list(one.data) == tokens
        np.testing.assert_allclose(
            one.values.sum() + one.base_values, explained.output[b].item(), atol=1e-6
        )
        np.testing.assert_array_equal(
            one.values.astype(np.float32), explained.scores[b, : len(tokens)].numpy()
        )


SUMMING = {
    "lrp": {},
    "gradient_x_input": {},
    "decompx": {},
    "integrated_gradients": {},
    "kernel_shap": {},
    "shapley_value_sampling": {"n_samples": 3},
}
NOT_SUMMING = {
    "saliency": {},
    "smooth_grad": {"n_samples": 2},
    "generic_attention": {},
    "leave_one_out": {},
    "lime": {"n_samples": 20},
    "slalom": {"n_samples": 64},
    "gradient_x_input": {"norm": "l2"},
    "integrated_gradients": {"norm": "l2"},
}


def scored(method, options, text=TEXTS[0], **more):
    model, tokenizer = sentiment()
    return explain(model, text, method, tokenizer, **options, **more)


@pytest.mark.parametrize("method", SUMMING)
def test_scores_that_sum_go_to_shap_without_a_word(method):
    found = scored(method, SUMMING[method])
    with warnings.catch_warnings():
        warnings.simplefilter("error", AdditivityWarning)
        values = found.to_shap()
        found.words().to_shap(distinct=True)
    whole = values.values.sum() + values.base_values[0]
    assert whole == pytest.approx(found.output.item(), abs=1e-5)


@pytest.mark.parametrize("method", NOT_SUMMING)
def test_shap_is_told_what_is_no_sum(method):
    found = scored(method, NOT_SUMMING[method])
    with pytest.warns(AdditivityWarning, match=f"'{method}' .* 'kernel_shap'"):
        found.to_shap()


@pytest.mark.filterwarnings("ignore::lrp_hooks.ConvergenceWarning")
def test_scores_of_windows_sum_as_those_of_each():
    text = " ".join(TEXTS[:1] * 60)
    found = scored("integrated_gradients", {"n_steps": 2}, text, stride=16)
    with warnings.catch_warnings():
        warnings.simplefilter("error", AdditivityWarning)
        found.to_shap()


@pytest.mark.parametrize("method", ["attention_rollout", "globenc", "random_baseline"])
def test_scores_of_no_class_are_no_parts_of_an_output(method):
    found = scored(method, {})
    with pytest.raises(ArgumentError, match=f"'{method}' are of no class.*'lrp'"):
        found.to_shap()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_shap_draws_it(explained):
    import shap

    page = shap.plots.text(explained.to_shap()[0], display=False)
    for token in ("gripping", "funny", "film"):
        assert token in page


@pytest.fixture(scope="module")
def named(explained):
    return explained.to_shap()


def test_shap_knows_features_by_their_tokens(explained, named):
    assert named.feature_names == explained.tokens
    assert list(named[0].feature_names) == explained.tokens[0]
    mean = named.abs.mean(0)
    assert list(mean.feature_names) == list(dict.fromkeys(sum(explained.tokens, [])))
    own = explained.scores.abs()
    found = dict(zip(mean.feature_names, mean.values, strict=True))
    assert found["bad"] == pytest.approx(own[1, 1].item())
    assert found["[CLS]"] == pytest.approx(own[:, 0].mean().item())


def test_the_same_word_at_other_places_is_one_feature():
    tokens = [["good", "film"], ["film", "good"]]
    scores = torch.tensor([[3.0, 1.0], [2.0, 5.0]])
    mean = explanation(tokens, scores=scores, method=SUMS).to_shap().mean(0)
    assert dict(zip(mean.feature_names, mean.values, strict=True)) == {
        "good": 4.0,
        "film": 1.5,
    }


@pytest.mark.filterwarnings("ignore")
def test_shap_draws_bars_and_swarms(explained, named):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import shap

    for found in (named.abs.mean(0), named[0], explained.to_shap(distinct=True)):
        axes = shap.plots.bar(found, show=False)
        shown = " ".join(text.get_text() for text in axes.get_yticklabels())
        assert "gripping" in shown and "Feature" not in shown
        plt.close("all")
    axes = shap.plots.beeswarm(explained.to_shap(distinct=True), show=False)
    assert "bad" in {text.get_text() for text in axes.get_yticklabels()}
    distinct = explained.to_shap(distinct=True)
    for plot in (shap.plots.heatmap, shap.plots.violin):
        plot(distinct, show=False)
    shap.plots.scatter(distinct[:, "film"], show=False)
    shap.plots.waterfall(named[0], show=False)
    plt.close("all")


def test_distinct_tokens_keep_the_sum():
    tokens = [["a", "b", "a"], ["c"]]
    scores = torch.tensor([[1.0, 2.0, 4.0], [8.0, 0.0, 0.0]])
    before = explanation(tokens, scores=scores, method=SUMS)
    found = before.to_shap(distinct=True)
    assert found.feature_names == ["a", "b", "c"]
    assert found.values.tolist() == [[5, 2, 0], [0, 0, 8]]
    assert found.data.tolist() == [[2, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(
        found.values.sum(1) + found.base_values, before.output, atol=1e-6
    )


def test_a_comparison_is_the_tables_of_its_explanations():
    model, tokenizer = sentiment()
    methods = {
        "plain": {"method": "lrp"},
        "attn": {"method": "lrp", "rules": "attnlrp"},
    }
    found = compare(model, TEXTS, methods, tokenizer)
    frame = found.to_dataframe()
    assert list(dict.fromkeys(frame.label)) == ["plain", "attn"]
    for label, own in found.explanations.items():
        part = frame[frame.label == label].drop(columns="label").reset_index(drop=True)
        pandas.testing.assert_frame_equal(part, own.to_dataframe())


def test_texts_of_one_length_are_one_array():
    found = explanation([["a", "b"], ["c", "d"]], method=SUMS).to_shap()
    assert found.values.shape == found.data.shape == (2, 2)


def test_captum_records(explained):
    records = explained.to_captum_records([0.25, 0.75], ["positive", "negative"])
    largest = explained.scores.abs().max().item()
    for b, record in enumerate(records):
        own = explained.scores[b, : len(explained.tokens[b])].double()
        assert record.raw_input_ids == explained.tokens[b]
        np.testing.assert_allclose(record.word_attributions, own / largest, rtol=1e-6)
        assert record.attr_score == pytest.approx(own.sum().item())
        gap = explained.output[b].item() - own.sum().item()
        assert record.convergence_score == pytest.approx(gap)
        assert record.pred_class == "unknown" and record.attr_class == "negative"
    assert [r.pred_prob for r in records] == [0.25, 0.75]
    assert [r.true_class for r in records] == ["positive", "negative"]
    assert max(abs(a) for r in records for a in r.word_attributions) == 1


def test_what_is_not_known_of_a_prediction_stays_open(explained):
    for record in explained.to_captum_records():
        assert math.isnan(record.pred_prob)
        assert record.pred_class == record.true_class == "unknown"


def test_captum_has_the_prediction_beside_what_is_explained(explained):
    given = ["positive", "negative"]
    records = explained.to_captum_records([0.9, 0.8], predicted_classes=given)
    assert [r.pred_class for r in records] == given
    assert {r.attr_class for r in records} == {"negative"}
    told = explanation([["a"]], meta={"prediction": ["positive (probability 0.9)"]})
    (record,) = told.to_captum_records()
    assert record.pred_class == "positive (probability 0.9)"
    # As Captum's table prints both.
    assert f"{record.pred_class} ({record.pred_prob:.2f})".endswith("(nan)")


def test_captum_is_told_of_scores_of_no_class():
    (record,) = scored("globenc", {}).to_captum_records()
    assert record.attr_class == "of no class"


def test_captum_writes_hostile_tokens_as_text():
    name = "<img src=x onerror=alert(1)>"
    found = explanation([list(HOSTILE)], meta={"labels": {1: name}})
    (record,) = found.to_captum_records(true_classes=[name], predicted_classes=[name])
    cells = visualization.format_word_importances(
        record.raw_input_ids, record.word_attributions
    )
    assert "<script" not in cells and "</span>" not in cells
    for label in (record.pred_class, record.attr_class, record.true_class):
        assert "<" not in label and "&lt;img" in label


def test_all_scores_zero_divide_nothing():
    (record,) = explanation([["a"]], scores=torch.zeros(1, 1)).to_captum_records()
    assert record.word_attributions == [0.0]


@pytest.mark.parametrize("name", ["to_shap", "to_captum_records"])
def test_images_have_no_tokens(name):
    with pytest.raises(ArgumentError, match=rf"{name}\(\) needs one score for each"):
        getattr(relevance(image=True), name)()


def test_one_probability_for_each_example(explained):
    with pytest.raises(ArgumentError, match="probabilities has 1 entries for 2"):
        explained.to_captum_records([0.5])


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("to_dataframe", "pandas", "evaluate"), ("to_shap", "shap", "shap")],
)
def test_missing_packages_are_named(monkeypatch, name, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ArgumentError, match=rf'pip install "lrp_hooks\[{extra}\]"'):
        getattr(explanation([["a"]], method=SUMS), name)()
