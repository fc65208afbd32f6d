"""Several classes beside each other, and each method with the text for itself."""

import re

import pytest
import torch

from lrp_hooks import ArgumentError, compare, explain, explain_command
from lrp_hooks.render.colour import class_name, level
from lrp_hooks.sentiment import sentiment_model

TEXT = "a gripping, funny film with a weak ending"
CLASSES = {
    "for positive": {"method": "lrp", "target": "positive"},
    "for negative": {"method": "lrp", "target": 0},
}


@pytest.fixture(scope="module")
def sentiment():
    return sentiment_model()


@pytest.fixture
def quick(monkeypatch, sentiment):
    """Load the embedded model once."""
    monkeypatch.setattr(explain_command, "sentiment_model", lambda: sentiment)


@pytest.fixture(scope="module")
def classes(sentiment):
    model, tokenizer = sentiment
    return compare(model, TEXT, CLASSES, tokenizer)


def tokens_of(html):
    """Return the class of colour, the number and the text of each token."""
    found = re.findall(
        r'<span class="t (\w+)[^"]*" dir="auto" title="([^"]+)">([^<]*)</span>', html
    )
    return [(shade, float(number), text) for shade, number, text in found]


def test_each_label_has_its_target(sentiment, classes):
    model, tokenizer = sentiment
    for label, target in (("for positive", 1), ("for negative", 0)):
        alone = explain(model, TEXT, "lrp", tokenizer, target)
        assert torch.equal(classes.explanations[label].scores, alone.scores)
        assert classes.explanations[label].targets == alone.targets


def test_the_target_of_all_is_that_of_labels_without(sentiment):
    model, tokenizer = sentiment
    methods = {"lrp": {}, "other": {"method": "lrp", "target": 1}}
    found = compare(model, TEXT, methods, tokenizer, target=0)
    assert found.explanations["lrp"].targets == ["negative"]
    assert found.explanations["other"].targets == ["positive"]


def test_each_method_has_the_text_for_itself(classes):
    shown = tokens_of(classes.to_html(rows="methods"))
    size = len(classes.tokens[0])
    assert [text for *_, text in shown] == classes.tokens[0] * 2
    # One method, two classes: one scale for both, that of ordinary tokens.
    both = torch.cat([each.scores[0, 1:-1] for each in classes.explanations.values()])
    scale = both.abs().max().item()
    for n, each in enumerate(classes.explanations.values()):
        rows = zip(shown[n * size : (n + 1) * size], each.scores[0], strict=True)
        for (shade, number, _), score in rows:
            assert number == pytest.approx(score.item(), abs=1e-4)
            assert shade == class_name(level(score.item(), scale))


def test_methods_have_scales_of_their_own(sentiment):
    model, tokenizer = sentiment
    found = compare(model, TEXT, ("lrp", "attention_last"), tokenizer)
    shown = tokens_of(found.to_html(rows="methods"))
    size = len(found.tokens[0])
    for own in (shown[:size], shown[size:]):
        assert {"p12", "n12"} & {shade for shade, *_ in own[1:-1]}


def test_targets_are_told_apart(classes):
    for rows in ("tokens", "methods"):
        html = classes.to_html(rows=rows)
        head = html[html.index("<section>") :].split("</p>")[0]
        names = re.findall(r'class="name" dir="auto">([^<]*)<', head)
        assert names == ["for positive", "positive", "for negative", "negative"]
    assert classes.to_terminal(colour=False).startswith("target  positive, negative\n")


def test_other_rows(classes):
    with pytest.raises(ArgumentError, match="rows='columns' must be one of 'tokens',"):
        classes.to_html(rows="columns")


def test_a_figure_has_a_panel_for_each_method(classes):
    figure = classes.plot()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [t.split()[0] for t in titles if t] == ["positive", "negative"]


def test_the_command_with_two_targets(run, quick, tmp_path, classes):
    page, drawn = tmp_path / "page.html", tmp_path / "drawn.svg"
    more = ["--target", "positive", "--target", "negative", "--methods", "lrp"]
    files = ["--rows", "methods", "--html", page, "--svg", drawn]
    code, out, err = run("compare", TEXT, *more, *files)
    assert (code, err) == (0, "")
    assert "lrp: positive  lrp: negative" in out
    assert len(tokens_of(page.read_text())) == 2 * len(classes.tokens[0])
    assert "<svg" in drawn.read_text()


def test_a_target_that_does_not_exist_is_named(run, quick):
    code, out, err = run("compare", TEXT, "--target", "positive", "--target", "odd")
    assert (code, out) == (2, "") and "'odd' is no label" in err


def test_an_svg_file(run, quick, tmp_path):
    path = tmp_path / "a.svg"
    assert run("explain", TEXT, "--svg", path)[::2] == (0, "")
    assert path.read_text().startswith("<?xml")
    code, _, err = run("explain", TEXT, "--svg", tmp_path / "a.png")
    assert code == 2 and "ends in '.png', but SVG is what is written" in err


def test_a_bar_where_there_is_someone_to_see_it(sentiment, capsys):
    model, tokenizer = sentiment
    compare(model, "bad", ("lrp",), tokenizer)
    assert not capsys.readouterr().err
    compare(model, "bad", ("lrp",), tokenizer, progress=True)
    assert "0/1" in capsys.readouterr().err
