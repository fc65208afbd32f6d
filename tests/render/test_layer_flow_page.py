"""Layer flows as pages, terminal text and figures: the numbers, whatever the text."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hand_built import HOSTILE, calm, hostile_text, relevance, shows
from lrp_hooks import ArgumentError, layer_flow
from lrp_hooks.render.colour import ansi

NAMES = ("a.layer.0", "a.layer.1", "a.layer.10")


def flow(tokens=None, batch=2, length=5, names=NAMES, seed=0, **fields):
    """Return a flow through layers of random relevance."""
    generator = torch.Generator().manual_seed(seed)
    if tokens is not None:
        batch, length = len(tokens), max(map(len, tokens))
    found = relevance(batch, length, seed, tokens=tokens, **fields)
    shape = (batch, length, 3)
    found.layers = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name in names
    }
    if found.attended is not None:
        for values in found.layers.values():
            values[~found.attended] = 0
    return layer_flow(found)


class Table(HTMLParser):
    """What a browser would see: rows of numbers, their titles, tokens."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.stack, self.visible = [], [], ""
        self.rows, self.exact, self.heads, self.tokens = [], [], [], []
        self.feed(html)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        free = {"title", "class", "style", "dir"}
        self.elements.append((
            tag,
            [pair for pair in attributes if pair[0] not in free],
        ))
        if tag != "meta":
            self.stack.append(tag)
        if tag == "tr":
            self.rows.append([])
            self.exact.append([])
        if tag == "td":
            self.exact[-1].append(float(given["title"]))
        if tag == "th" and "title" in given:
            self.heads.append(given["title"])
        self.inside = "t" in given.get("class", "").split()
        if self.inside:
            self.tokens.append("")

    def handle_endtag(self, tag):
        self.inside = False
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "td":
            self.rows[-1].append(float(data))
        if self.inside:
            self.tokens[-1] += data
        if "style" not in self.stack:
            self.visible += data


def test_every_number_is_seen_without_a_pointer():
    shown = flow()
    table = Table(shown.to_html())
    rows = [row for row in table.rows if row]
    exact = [row for row in table.exact if row]
    kept = [range(5), range(3)]  # the second example is padded by two
    expected = []
    for b, positions in enumerate(kept):
        expected += [shown.scores[b, :, t].tolist() for t in positions]
        expected += [shown.scores[b].sum(1).tolist(), shown.entered[b].tolist()]
    assert len(rows) == len(exact) == len(expected)
    for seen, full, value in zip(rows, exact, expected, strict=True):
        assert seen == pytest.approx(value, abs=0.0051)
        assert full == pytest.approx(value, abs=0.000051)
    assert table.heads == ["input", *NAMES] * 2
    assert "a.layer.*" in table.visible


def test_each_column_sums_to_the_output():
    shown = flow()
    rows = [row for row in Table(shown.to_html()).exact if row]
    for b, last in enumerate((6, 11)):
        sums, entered = rows[last - 1], rows[last]
        for total, more in zip(sums, entered, strict=True):
            output = float(shown.relevance.output[b])
            assert total + more == pytest.approx(output, abs=2e-4)


def test_a_leak_is_said_to_be_one():
    shown = flow()
    assert "leak" not in shown.to_html()
    ledger = replace(shown.relevance.ledger, output=shown.relevance.output + 1)
    open_ = replace(shown, relevance=replace(shown.relevance, ledger=ledger))
    assert "and what these rules leak there" in open_.to_html()


def test_colours_share_one_scale():
    html = flow(batch=1, seed=3).to_html()
    shown = flow(batch=1, seed=3)
    scale = shown.scores.abs().max()
    classes = re.findall(r'<td class="([pnz]\d*)" title="([^"]+)"', html)
    assert len(classes) == shown.scores.numel()
    for name, title in classes:
        value = float(title)
        step = round(abs(value / float(scale)) * 12)
        assert name == (f"{'p' if value > 0 else 'n'}{step}" if step else "z")
    assert {"p12", "n12"} & {name for name, _ in classes}


def test_special_tokens_are_dimmed():
    shown = flow([["[CLS]", "a", "b"]], meta={"special": [[True, False, False]]})
    assert 't s" dir="auto">[CLS]' in shown.to_html()
    assert "\x1b[2m[CLS]\x1b[0m" in shown.to_terminal(colour=True)


@calm
@given(st.lists(hostile_text, min_size=1, max_size=5))
def test_whatever_the_text_it_is_seen_and_does_nothing(words):
    page = Table(flow([words]).to_html())
    plain = Table(flow([["a"] * len(words)]).to_html())
    assert page.elements == plain.elements
    assert all(map(shows, page.tokens, words)) and len(page.tokens) == len(words)


def test_names_of_modules_are_text_too():
    hostile = [f"a.{text.replace('.', '')}{n}" for n, text in enumerate(HOSTILE)]
    page = Table(flow(batch=1, names=hostile).to_html())
    assert {tag for tag, _ in page.elements} <= {
        "html", "head", "meta", "title", "body", "div", "style", "section", "p",
        "span", "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip
    flow(batch=1, names=hostile).plot()
    assert "\x1b" not in flow(batch=1, names=hostile).to_terminal(colour=False)


def test_nothing_is_fetched_or_run():
    html = flow().to_html()
    assert "<script" not in html and "http" not in html.replace("http-equiv", "")
    assert flow()._repr_html_() in html


@pytest.mark.parametrize("width", [24, 40, 200])
def test_a_narrow_terminal_has_tables_below_each_other(width):
    shown = flow(batch=1, length=4, names=[f"m.{n}" for n in range(12)])
    text = shown.to_terminal(colour=False, width=width)
    body = text.split("\n\n", 1)[1].splitlines()
    assert max(map(len, body)) <= width
    rows = [line.split() for line in body if line.strip()]
    columns = {}
    for row in rows:
        if not re.fullmatch(r"[+-]\d.*", row[-1]):
            heads = row
        else:
            numbers = [cell for cell in row if re.fullmatch(r"[+-][\d.]+", cell)]
            name = " ".join(row[: -len(numbers)])
            for head, number in zip(heads, numbers, strict=True):
                columns.setdefault(head, {})[name] = float(number)
    assert list(columns) == ["input", *map(str, range(12))]
    for layer, column in enumerate(columns.values()):
        tokens = [column[str(t)] for t in range(4)]
        assert tokens == pytest.approx(shown.scores[0, layer].tolist(), abs=0.0051)
        entered = float(shown.entered[0, layer])
        assert column["entered above"] == pytest.approx(entered, abs=0.0051)


def test_figures_have_a_map_an_example():
    shown = flow([["[CLS]", "$a$", "b"], ["x"]])
    figure = shown.plot()
    maps = figure.axes[:2]
    for b, axes in enumerate(maps):
        kept = len(shown.relevance.tokens[b])
        image = torch.tensor(axes.images[0].get_array())
        expected = shown.scores[b, :, :kept].T
        torch.testing.assert_close(image, expected)
        labels = [tick.get_text() for tick in axes.get_yticklabels()]
        assert labels == shown.relevance.tokens[b]
    figure.draw_without_rendering()


def test_more_rows_than_a_figure_holds_are_refused():
    with pytest.raises(ArgumentError, match="use to_html"):
        flow(batch=1, length=2100, names=["a"]).plot()
    assert flow(batch=1, length=2100, names=["a"]).to_html()


def test_the_legend_goes_from_against_to_for():
    shown = flow()
    scale = float(shown.scores.abs().max())
    steps = r"<span[^>]*>(?:<span[^>]*></span>)+</span>"
    html = re.search(rf"against (\S+) {steps} (\S+)</span>", shown.to_html())
    legend = shown.to_terminal(colour=True, width=200).splitlines()[-1]
    text = re.fullmatch(r"([+-][\d.]+) .* ([+-][\d.]+)", legend)
    for low, high in (html.groups(), text.groups()):
        assert float(low) == pytest.approx(-scale, abs=0.0051)
        assert float(high) == pytest.approx(scale, abs=0.0051)


def test_a_terminal_colours_by_the_sign():
    shown = flow(batch=1)
    lines = shown.to_terminal(colour=True, width=200).splitlines()
    (head,) = [n for n, line in enumerate(lines) if line.split()[:1] == ["input"]]
    scale = float(shown.scores.abs().max())
    for t in range(5):
        steps = [round(12 * s / scale) for s in shown.scores[0, :, t].tolist()]
        cells = [ansi("x", step) for step in steps if step]
        wanted = [re.search(r"48;5;(\d+)m", cell)[1] for cell in cells]
        assert re.findall(r"48;5;(\d+)m", lines[head + 1 + t]) == wanted


def test_figures_say_which_layer_and_what_entered_above():
    special = {"special": [[True, False, False]]}
    shown = flow([["[CLS]", "a", "b"]], meta=special)
    figure = shown.plot()
    axes = figure.axes[0]
    scale = float(shown.scores.abs().max())
    assert axes.images[0].get_clim() == pytest.approx((-scale, scale))
    low, high = (axes.images[0].cmap(end) for end in (0.0, 1.0))
    assert low[2] > low[0] and high[0] > high[2]  # blue below, vermilion above
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["input", "0", "1", "10"]
    (above,) = axes.child_axes
    assert above.get_xlabel() == "entered above"
    numbers = [float(label.get_text()) for label in above.get_xticklabels()]
    assert numbers == pytest.approx(shown.entered[0].tolist(), abs=0.0051)
    dimmed, *plain = [label.get_alpha() for label in axes.get_yticklabels()]
    assert dimmed < 1 and plain == [1, 1]
    title = axes.get_title(loc="left").split()
    assert float(title[-1]) == pytest.approx(shown.relevance.output.item(), abs=1e-4)


def test_one_layer_is_an_explanation():
    special = {"special": [[True, False, False]]}
    shown = flow([["[CLS]", "a", "b"]], meta=special)
    for layer in range(4):
        one = shown.at(layer)
        assert torch.equal(one.scores, shown.scores[:, layer])
        assert torch.equal(one.output, shown.relevance.output)
        assert one.tokens == [["[CLS]", "a", "b"]] and one.targets == ["1"]
        assert one.meta["special"] == special["special"]


def test_a_layer_of_other_positions_has_no_tokens():
    found = relevance(1, 5, tokens=[list("abcde")], meta={"special": [[True] * 5]})
    found.layers = {"a.0": torch.randn(1, 3, 2), "a.1": torch.randn(1, 3, 2)}
    shown = layer_flow(found)
    assert shown.layers == ["a.0", "a.1"]
    one = shown.at(1)
    assert torch.equal(one.scores, shown.scores[:, 1])
    assert one.tokens is None and one.attended is None and one.meta["special"] is None
    assert Table(shown.to_html()).tokens == list("012")
