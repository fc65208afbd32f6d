"""The report of an evaluation: what it says, and that nothing in it can act."""

import math
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hand_built import HOSTILE, calm, hostile_text
from lrp_hooks import render
from lrp_hooks.faithfulness import BETTER, METRICS, Evaluation, Plan
from lrp_hooks.render import chart

VOID = {"meta", "br", "wbr"}
SHARES = [0.0, 0.5, 1.0]


def found(score, curve=(1.0, 0.5, 0.0)):
    low, high = score - 0.1, score + 0.2
    return {"score": score, "low": low, "high": high, "n": 3, "curve": list(curve)}


ONE = found(0.5) | {"low": 0.5, "high": 0.5, "n": 1}


@dataclass
class Found:
    """What is shown of an evaluation, with numbers made by hand."""

    scores: dict
    skipped: dict = field(default_factory=dict)
    failures: dict = field(default_factory=dict)
    signs: tuple = ("signed",)

    def __post_init__(self):
        metrics = dict.fromkeys(m for own in self.scores.values() for m in own)
        self.plan = Plan(
            texts=("a", "b", "c", "d"),
            labels=None,
            methods={label: {} for label in self.scores},
            metrics=tuple(metrics),
            signs=self.signs,
            target="predicted",
            replacements=dict.fromkeys(metrics, "mask"),
            chunk=16,
            seed=0,
            identity={},
        )
        self.fractions = {name: SHARES for name in metrics if name in METRICS}
        self.seconds = {**dict.fromkeys(self.scores, 1.5), "metrics": 2.25}
        self.parts = [{"shown": 40}, {"shown": 2}]

    def summary(self):
        return {
            label: dict.fromkeys(self.signs, own) for label, own in self.scores.items()
        }


def page(evaluation):
    return render.page(Evaluation.view(evaluation))


def test_one_text_has_no_interval():
    shown = Found({"lrp": {"aopc": ONE, "log_odds": found(0.25)}})
    line = terminal(shown).splitlines()[2]
    assert line.split()[1:] == ["0.500*", "0.250", "[0.150,", "0.450]*"]
    cells = re.findall(r"<td title[^>]*>(.*?)</td>", page(shown))
    assert cells[0] == "<b>0.500</b>" and "0.150 to 0.450" in cells[1]


def terminal(evaluation, **options):
    return render.terminal(Evaluation.view(evaluation), **options)


TWO = {
    "lrp": {"aopc": found(0.75), "deletion": found(0.25)},
    "random": {"aopc": found(0.5), "deletion": found(0.5)},
}


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.stack, self.bold, self.visible = [], [], [], ""
        self.feed(html)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if not {"style", "title"} & set(self.stack):
            self.visible += data
        if "b" in self.stack:
            self.bold.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def test_a_table_with_the_best_in_bold_and_a_chart_for_each_metric():
    shown = Page(page(Found(TWO)))
    assert shown.bold == ["0.750", "0.250"]
    assert "aopc ↑" in shown.visible
    assert "deletion ↓" in shown.visible
    assert "0.650 to 0.950" in shown.visible
    charts = [a["aria-label"] for a in shown.all("svg") if "aria-label" in a]
    assert [title.split(":")[0] for title in charts] == ["aopc", "deletion"]
    assert len(shown.all("polyline")) == 2 * 2 + 2  # and the legend's
    assert "all metrics, 42 perturbed texts2.25" in shown.visible


def test_every_sign_has_a_table():
    shown = Page(page(Found(TWO, signs=("signed", "absolute"))))
    assert len(shown.all("table")) == 3
    assert "Scores as they are" in shown.visible
    assert "Absolute scores" in shown.visible


def test_what_was_left_out_is_listed():
    skipped = {n: f"reason {n}" for n in range(3)}
    failures = {"flow": "needs <networkx>"}
    shown = Page(page(Found(TWO, skipped, failures)))
    assert "row 2: reason 2" in shown.visible
    assert "left out: 3" in shown.visible
    assert "flow: needs <networkx>" in shown.visible
    assert "on 1 text" in shown.visible


def test_missing_numbers_are_no_best_and_no_curve():
    none = {**found(math.nan, [math.nan] * 3), "n": 0}
    scores = {"a": {"aopc": none}, "b": {"aopc": found(0.5)}, "c": {}}
    shown = Page(page(Found(scores)))
    assert shown.bold == ["0.500"]
    assert "nan" not in page(Found(scores)).lower().replace("dominant", "")
    assert len(shown.all("polyline")) == 1 + 3


@calm
@given(st.lists(hostile_text, min_size=1, max_size=4, unique=True), hostile_text)
def test_nothing_acts(labels, reason):
    scores = dict.fromkeys(labels, TWO["lrp"])
    html = page(Found(scores, {0: reason}, dict.fromkeys(labels, reason)))
    shown = Page(html)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in html)
    tags = {tag for tag, _ in shown.elements}
    assert not tags & {"script", "link", "a", "img", "iframe", "image", "use"}
    names = {name for _, attributes in shown.elements for name in attributes}
    assert not any(re.match("on|href|src|xlink", name) for name in names)
    assert "http" not in html.replace("http-equiv", "").replace(reason, "")


@pytest.mark.parametrize("label", HOSTILE)
def test_the_number_of_elements_is_that_of_a_harmless_page(label):
    harmless = Page(page(Found({"lrp": TWO["lrp"]}, {0: "no"}, {"lrp": "no"})))
    hostile = Page(page(Found({label: TWO["lrp"]}, {0: label}, {label: label})))
    assert len(hostile.elements) == len(harmless.elements)


def test_lines_differ_in_colour_or_dashes():
    looks = {re.sub("<text.*", "", chart.swatch(n)) for n in range(30)}
    assert len(looks) == 30


@calm
@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=3
    )
)
@example([[0.0, 0.0, 5e-324]])
def test_points_lie_where_the_axis_says(lines):
    panel = chart.Panel("t", "x", "y", SHARES, dict(enumerate(lines)))
    svg = chart.draw(panel)
    ticks = [
        (float(y), float(text))
        for y, text in re.findall(r'M46 ([\d.]+)H.*?text-anchor="end">(.*?)<', svg)
    ]
    step = ticks[1][1] - ticks[0][1]
    assert ticks[0][1] <= min(map(min, lines)) + 1e-6 * step
    assert ticks[-1][1] >= max(map(max, lines)) - 1e-6 * step
    assert 2 <= len(ticks) <= 7
    assert ticks[0][0] > ticks[-1][0]  # upwards, where pixels count downwards
    slope = (ticks[-1][1] - ticks[0][1]) / (ticks[-1][0] - ticks[0][0])
    drawn = re.findall(r'points="(.*?)"', svg)
    for points, values in zip(drawn, lines, strict=True):
        xs, ys = zip(
            *(map(float, point.split(",")) for point in points.split()), strict=True
        )
        assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.11) != 0
        for y, value in zip(ys, values, strict=True):
            read = ticks[0][1] + (y - ticks[0][0]) * slope
            assert read == pytest.approx(value, abs=0.11 * abs(slope) + 1e-9)


def test_a_terminal():
    text = terminal(Found(TWO), colour=False, width=100)
    assert text.splitlines() == [
        "signed                  aopc               deletion",
        "            higher is better        lower is better",
        "lrp     0.750 [0.650, 0.950]*  0.250 [0.150, 0.450]*",
        "random  0.500 [0.400, 0.700]   0.500 [0.400, 0.700]",
        "",
        "mean over 4 texts [95 % bootstrap interval]",
        "* best of its column",
    ]


@pytest.mark.parametrize("width", [1, 40, 80, 200])
def test_a_terminal_breaks_columns_at_its_width(width):
    scores = {"lrp": dict.fromkeys(BETTER, found(0.5))}
    text = terminal(Found(scores), colour=False, width=width)
    for metric in BETTER:
        assert len(re.findall(rf" {metric}(?= |$)", text, re.MULTILINE)) == 1
    assert max(map(len, text.splitlines())) <= max(width, 45)


def test_bold_on_a_terminal_with_colours():
    text = terminal(Found(TWO), colour=True, width=100)
    assert text.count("\x1b[1m") == text.count("\x1b[0m") == 2
    assert "*" not in text
    assert "\x1b" not in terminal(Found(TWO), width=100)


@calm
@given(hostile_text)
def test_a_terminal_is_safe(label):
    text = terminal(Found({label: TWO["lrp"]}), colour=False, width=80)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066-\u2069]", text)
    assert len(text.splitlines()) >= 5
