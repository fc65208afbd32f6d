"""Several classes beside each other, and each method with the text for itself."""

import re

import pytest
import torch

from hand_built import explanation
from lrp_hooks import ArgumentError, Comparison, compare, explain
from lrp_hooks.render.colour import ansi, class_name, level
from lrp_hooks.results.comparison import Cost

TEXT = "a gripping, funny film with a weak ending"
CLASSES = {
    "for positive": {"method": "lrp", "target": "positive"},
    "for negative": {"method": "lrp", "target": 0},
}


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


def test_the_command_with_two_targets(run, loaded_once, tmp_path, classes):
    page, drawn = tmp_path / "page.html", tmp_path / "drawn.svg"
    more = ["--target", "positive", "--target", "negative", "--methods", "lrp"]
    files = ["--rows", "methods", "--html", page, "--svg", drawn]
    code, out, err = run("compare", TEXT, *more, *files)
    assert (code, err) == (0, "")
    assert "lrp: positive  lrp: negative" in out
    assert len(tokens_of(page.read_text())) == 2 * len(classes.tokens[0])
    assert "<svg" in drawn.read_text()


def test_a_target_that_does_not_exist_is_named(run, loaded_once):
    code, out, err = run("compare", TEXT, "--target", "positive", "--target", "odd")
    assert (code, out) == (2, "") and "'odd' is no label" in err


def test_an_svg_file(run, loaded_once, tmp_path):
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


ROWS = {"x": [4.0, -2.0, 1.0], "y": [-0.1, 0.2, 0.05]}
LEVELS_OF = [[12, -6], [-6, 12], [3, 3]]  # each method's own scale: 4.0 and 0.2


@pytest.fixture
def two():
    found = {
        method: explanation([list("abc")], scores=torch.tensor([row]), method=method)
        for method, row in ROWS.items()
    }
    return Comparison(found, {"x": Cost(3, 7, 0.5), "y": Cost(5, 9, 0.25)})


def test_cells_have_the_number_and_the_shade_of_their_own_method(two):
    table = two.to_html().split("<table>")[1]
    cells = re.findall(r'<td class="(\w+)">([^<]+)</td>', table)
    numbers = [number for pair in zip(*ROWS.values(), strict=True) for number in pair]
    assert [float(number) for _, number in cells] == pytest.approx(numbers)
    shades = [class_name(step) for row in LEVELS_OF for step in row]
    assert [shade for shade, _ in cells] == shades


def test_each_text_says_how_far_its_scale_goes(two):
    ends = re.findall(r"up to ([^<]+)</p>", two.to_html(rows="methods"))
    assert ends == ["±4.0000", "±0.2000"]


def test_a_terminal_has_the_same_numbers_and_shades(two):
    grounds = re.compile(r"48;5;(\d+)m *([+-][\d.]+)")
    lines = two.to_terminal(colour=True).splitlines()[3:6]
    for t, (line, steps) in enumerate(zip(lines, LEVELS_OF, strict=True)):
        wanted = [re.search(r"48;5;(\d+)m", ansi("x", step))[1] for step in steps]
        cells = grounds.findall(line)
        assert [ground for ground, _ in cells] == wanted
        numbers = [float(number) for _, number in cells]
        assert numbers == pytest.approx([row[t] for row in ROWS.values()])


def test_agreement_has_its_sign(two):
    # The ranks are 3, 1, 2 and 1, 3, 2: Spearman's coefficient is -1.
    html, text = two.to_html(), two.to_terminal(colour=False)
    table = html.split("<table>")[2]
    cells = re.findall(r'<td class="(\w+)">([^<]+)</td>', table)
    assert cells == [
        *(("p12", "+1.00"), ("n12", "-1.00")),
        *(("n12", "-1.00"), ("p12", "+1.00")),
    ]
    assert re.search(r"^  x +\+1\.00 +-1\.00\n  y +-1\.00 +\+1\.00$", text, re.M)


def test_costs_are_in_their_columns(two):
    table = two.to_html().split("<table>")[3]
    assert re.findall(r'<th scope="col">([^<]+)<', table)[1:] == [
        "model calls",
        "sequences",
        "CPU seconds",
    ]
    assert re.findall(r"<td>([^<]+)</td>", table) == [*"37", "0.50", *"59", "0.25"]
    text = two.to_terminal(colour=False)
    assert re.search(r"^cost +model calls +sequences +CPU seconds$", text, re.M)
    assert re.search(r"^  x +3 +7 +0\.50\n  y +5 +9 +0\.25$", text, re.M)
