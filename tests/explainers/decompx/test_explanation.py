"""The explanation: stored, merged to words, and shown."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import pytest
import torch

from decompx_models import batch, tiny
from lrp_hooks import ArgumentError, explain
from lrp_hooks.explainers.decompx import DecompX, DecompXExplanation

TEXTS = ["A truly unforgettable, gripping film.", "Bad."]
WORDS = ["[CLS]", "A", "truly", "unforgettable,", "gripping", "film.", "[SEP]"]
KINDS = {
    "backward": {},
    "token": {"bias": "token"},
    "forward": {"bias": "absdot"},
    "forward token": {"bias": "token", "stages": ("encoder", "aggregated")},
    "vectors": {"bias": "absdot", "stages": ("encoder", "pooler"), "vectors": True},
    "norms": {"include_classifier": False},
}
kinds = pytest.mark.parametrize("kind", KINDS)


def of_texts(sentiment, kind, texts=TEXTS, **more):
    model, tokenizer = sentiment
    options = {**KINDS[kind], **more}
    return explain(model, texts, method="decompx", tokenizer=tokenizer, **options)


def equal(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[k], other[k]) for k in one)
    return one == other


@kinds
def test_it_comes_back_from_a_file_bit_by_bit(sentiment, kind, tmp_path):
    found = of_texts(sentiment, kind)
    found.save(tmp_path / "found")
    loaded = DecompXExplanation.load(tmp_path / "found")
    assert type(loaded) is DecompXExplanation
    assert vars(loaded).keys() == vars(found).keys()
    for name, value in vars(found).items():
        assert equal(value, getattr(loaded, name)), name


@pytest.mark.parametrize("stages", [(), ("res1",)])
def test_all_classes_come_back_from_a_file(stages, tmp_path):
    found = DecompX(tiny("Bert"), stages=stages)(batch(), "all")
    found.save(tmp_path / "found")
    loaded = DecompXExplanation.load(tmp_path / "found")
    assert loaded.target == "all"
    assert equal(loaded.of(1).scores, found.of(1).scores)
    assert equal(loaded.layers, found.layers)


@kinds
def test_a_text_is_explained(sentiment, kind):
    found = of_texts(sentiment, kind)
    assert found.method == "decompx"
    assert found.tokens[1] == ["[CLS]", "bad", ".", "[SEP]"]
    extra = "token" in kind
    assert found.scores.shape == (2, len(found.tokens[0]) + extra)
    assert (found.scores[1, 4:11] == 0).all()
    if kind == "norms":
        assert found.targets == ["", ""]
        assert (found.scores[1, :4] > 0).all()
    else:
        assert found.targets == ["positive", "negative"]
        torch.testing.assert_close(found.scores.sum(1), found.output)
        assert found.scores[1].argmax() == 1


@kinds
def test_words_are_sums_of_their_tokens(sentiment, kind):
    found = of_texts(sentiment, kind)
    words = found.words()
    assert words.tokens == [WORDS, ["[CLS]", "Bad.", "[SEP]"]]
    torch.testing.assert_close(words.scores.sum(1), found.scores.sum(1))
    torch.testing.assert_close(words.scores[0, 3], found.scores[0, 3:7].sum())
    assert torch.equal(words.scores[0, 4], found.scores[0, 7])
    assert torch.equal(words.scores[0, 6:], found.scores[0, 10:])
    assert (words.layers, words.aggregated, words.pooler) == ({}, None, None)
    if "token" in kind:
        assert torch.equal(words.scores[:, 7], found.scores[:, 11])
    assert (words.biases is None) == (found.biases is None)


def shown(text: str) -> dict[str, float]:
    return {
        token: float(score)
        for token, score in re.findall(r"^(\S+) +([+-]\d+\.\d+)$", text, re.MULTILINE)
        if token != "output"
    }


@kinds
@pytest.mark.parametrize("merged", [False, True])
def test_a_terminal_shows_every_token_and_no_padding(sentiment, kind, merged):
    found = of_texts(sentiment, kind, TEXTS[:1])
    found = found.words() if merged else found
    numbers = shown(found.to_terminal(colour=False))
    assert list(numbers)[: len(found.tokens[0])] == found.tokens[0]
    assert len(numbers) == found.scores.shape[1]
    for number, score in zip(numbers.values(), found.scores[0].tolist(), strict=True):
        assert abs(number - score) <= 6e-5
    second = of_texts(sentiment, kind).to_terminal(colour=False).rpartition("output")[2]
    assert len(shown("\n".join(second.splitlines()[1:]))) == 4 + ("token" in kind)


@kinds
def test_a_page_shows_every_token_in_order(sentiment, kind):
    found = of_texts(sentiment, kind)
    tokens, words = ("gripping", "film", "bad"), ("gripping", "film.", "Bad.")
    for page, seen in (
        (found.to_html(), tokens),
        (found._repr_html_(), tokens),
        (found.words().to_html(), words),
    ):
        places = [page.index(f">{word}<") for word in seen]
        assert places == sorted(places)
        assert "[PAD]" not in page


@kinds
def test_a_figure_is_drawn(sentiment, kind):
    figure = of_texts(sentiment, kind).plot()
    drawn = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert drawn.count("gripping") == drawn.count("bad") == 1
    assert not plt.get_fignums()
    figure.canvas.draw()


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:1]])
@pytest.mark.parametrize("render", ["to_html", "_repr_html_", "to_terminal", "plot"])
def test_all_classes_are_shown_or_refused(sentiment, texts, render):
    found = of_texts(sentiment, "backward", texts, target="all")
    try:
        getattr(found, render)()
    except ArgumentError:
        return
    classes = found.to_terminal(colour=False)
    assert "positive" in classes
    assert "negative" in classes


def test_all_classes_have_one_name_an_example():
    found = DecompX(tiny("Bert"))(batch(), "all")
    assert found.targets == ["all", "all"]
    assert repr(found)


def test_a_class_out_of_all_keeps_its_tokens(sentiment):
    found = of_texts(sentiment, "backward", target="all").of(1)
    assert found.targets == ["positive", "positive"]
    assert found.tokens == of_texts(sentiment, "backward").tokens


@pytest.mark.parametrize("target", [2, -1, True, 1.0, "pos"])
def test_of_takes_a_class(sentiment, target):
    found = of_texts(sentiment, "backward", target="all")
    with pytest.raises(ArgumentError, match="class"):
        found.of(target)


def test_of_takes_a_label(sentiment):
    found = of_texts(sentiment, "backward", target="all")
    assert torch.equal(found.of("positive").scores, found.of(1).scores)


def test_of_takes_a_class_out_of_all_alone(sentiment):
    with pytest.raises(ArgumentError, match="target='all'"):
        of_texts(sentiment, "backward").of(0)


def test_biases_are_what_the_rule_shared():
    none = DecompX(tiny("Bert"), "none")(batch(), "all")
    for rule in ("equal", "first", "token"):
        found = DecompX(tiny("Bert"), rule)(batch(), "all")
        torch.testing.assert_close(found.biases, none.biases)
        given = found.scores.sum(1) - none.scores.sum(1)
        torch.testing.assert_close(given, none.biases)
    torch.testing.assert_close(none.biases, none.output - none.scores.sum(1))


def test_the_column_of_biases_has_a_name(sentiment):
    found = of_texts(sentiment, "backward", bias="token")
    assert "(biases)" in found.to_terminal(colour=False)
    assert "(biases)" in found.to_html()
