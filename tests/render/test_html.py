"""Pages: whatever the text is, it is seen as it is and does nothing else."""

import base64
import io
import re
import unicodedata
from html.parser import HTMLParser

import matplotlib.image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hand_built import HOSTILE, calm, explanation, hostile_text, relevance, shows
from lrp_hooks import ArgumentError, Explanation

VOID = {"meta", "img", "br", "wbr"}
FREE_ELEMENTS = {"span", "bdi", "wbr", "br"}
FREE_ATTRIBUTES = {"title", "dir", "class", "style", "aria-label"}
DIRECTION_MARKS = (
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)

token_lists = st.lists(
    st.lists(hostile_text, min_size=1, max_size=6), min_size=1, max_size=3
)


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.stack, self.visible = [], [], ""
        self.tokens, self.titles, self.targets = [], [], []
        self.feed(html)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self.stack.append((tag, dict(attributes)))
        if self.in_token():
            self.tokens.append("")
            self.titles.append(dict(attributes)["title"])

    def handle_endtag(self, tag):
        assert self.stack.pop()[0] == tag

    def handle_data(self, data):
        if not {"style", "title"} & {tag for tag, _ in self.stack}:
            self.visible += data
            if self.in_token():
                self.tokens[-1] += data

    def in_token(self):
        return bool(self.stack) and "t" in self.stack[-1][1].get("class", "").split()

    def skeleton(self):
        """Everything that must not depend on the text."""
        return [
            (tag, [(k, v) for k, v in attributes if k not in FREE_ATTRIBUTES])
            for tag, attributes in self.elements
            if tag not in FREE_ELEMENTS
        ]


@calm
@given(token_lists)
def test_every_token_is_seen_once_and_in_order(tokens):
    page = Page(explanation(tokens).to_html())
    wanted = [token for row in tokens for token in row]
    assert len(page.tokens) == len(wanted)
    assert all(map(shows, page.tokens, wanted))
    position = 0
    for token in page.tokens:
        position = page.visible.index(token, position) + len(token)


@calm
@given(token_lists)
def test_markup_does_not_depend_on_the_text(tokens):
    plain = [["plain"] * len(row) for row in tokens]
    hostile, harmless = (Page(explanation(t).to_html()) for t in (tokens, plain))
    assert hostile.skeleton() == harmless.skeleton()
    assert len(hostile.elements) == len(harmless.elements)


def test_markup_does_not_depend_on_the_length():
    short, long = explanation([["a"]]), explanation([["a"] * 500])
    assert Page(short.to_html()).skeleton() == Page(long.to_html()).skeleton()


@calm
@given(hostile_text, hostile_text, hostile_text)
def test_names_are_harmless_too(label, method, source):
    def page(label, method, source):
        found = relevance(meta={"labels": {1: label}, "rules": method})
        found.method = method
        found.ledger.sources[source] = torch.zeros(2)
        return found.to_html()

    harmless = Page(page("label", "method", "source"))
    html = page(label, method, source)
    assert Page(html).skeleton() == harmless.skeleton()
    assert_clean(html)


@calm
@given(token_lists)
def test_no_raw_control_character(tokens):
    assert_clean(explanation(tokens).to_html())


def assert_clean(html):
    assert not [c for c in html if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"}]
    assert not set(DIRECTION_MARKS) & set(html)
    html.encode()


@calm
@given(token_lists)
def test_directions_are_isolated(tokens):
    html = explanation(tokens).to_html()
    page = Page(html)
    assert ".t{unicode-bidi:isolate" in re.sub(r" *([{:;]) *", r"\1", html)
    for tag, attributes in page.elements:
        if tag == "span" and "t" in dict(attributes)["class"].split():
            assert dict(attributes)["dir"] == "auto"
    for token in page.tokens:
        depth = 0
        for character in token:
            depth += (character in "\u2066\u2067\u2068") - (character == "\u2069")
            assert depth >= 0


@calm
@given(token_lists)
def test_nothing_is_fetched_or_run(tokens):
    page = Page(explanation(tokens).to_html())
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "iframe", "object", "form", "a", "base"}
        for name, value in attributes:
            assert not name.startswith("on")
            assert name not in {"href", "srcset", "action"}
            assert name != "src" or value.startswith("data:image/png;base64,")


def test_styles_fetch_nothing():
    html = explanation([["a"]]).to_html()
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_numbers_on_hover():
    scores = torch.tensor([[0.5, -1.25, 0.0]])
    page = Page(explanation([["a", "b", "c"]], scores=scores).to_html())
    assert page.titles == ["+0.5000", "-1.2500", "+0.0000"]


def test_one_scale_centred_at_zero():
    scores = torch.tensor([[2.0, -2.0, 0.0], [1.0, -0.5, 0.0]])
    page = Page(explanation([["a", "b", "c"]] * 2, scores=scores).to_html())
    classes = [
        dict(attributes)["class"].split()[1]
        for tag, attributes in page.elements
        if tag == "span" and dict(attributes)["class"].startswith("t ")
    ]
    assert classes == ["p12", "n12", "z", "p6", "n3", "z"]
    assert page.visible.count("+2.0000") == 1
    assert "against -2.0000" in page.visible


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_scores_without_a_scale(value):
    scores = torch.tensor([[value, 0.0]])
    assert Page(explanation([["a", "b"]], scores=scores).to_html()).tokens == ["a", "b"]


def test_special_tokens_are_dimmed():
    html = explanation([["[CLS]", "a"]], meta={"special": [[True, False]]}).to_html()
    assert re.search(r'class="t \w+ s" [^>]*>\[CLS\]<', html)
    assert re.search(r'class="t \w+" [^>]*>a<', html)


def test_padding_is_left_out():
    found = relevance(tokens=[["a", "b", "c", "d", "e"], ["f", "g", "h"]])
    assert Page(found.to_html()).tokens == list("abcdefgh")
    found.attended[1, 0] = False
    assert Page(found.to_html()).tokens == list("abcdegh")


def test_unknown_tokens_are_numbered():
    assert Page(relevance(batch=1).to_html()).tokens == list("01234")


def test_columns_without_a_token_are_numbered():
    scores = torch.tensor([[1.0, 2.0, 4.0], [1.0, 0.0, 8.0]])
    found = explanation([["a", "b"], ["c"]], scores=scores)
    assert Page(found.to_html()).tokens == ["a", "b", "2", "c", "2"]


def test_right_to_left_texts_read_from_the_right():
    special = {"special": [[True, False, False]]}
    arabic = explanation([["[CLS]", "مرحبا", "a"]], meta=special).to_html()
    english = explanation([["[CLS]", "a", "مرحبا"]], meta=special).to_html()
    assert '<p class="text" dir="rtl">' in arabic
    assert '<p class="text" dir="ltr">' in english


def test_the_ledger_is_shown():
    found = relevance(tokens=[["a"], ["b"]])
    page = Page(found.to_html())
    for name in (
        "tokens",
        "positions",
        "biases",
        "softmax",
        "total",
        "output",
        "error",
    ):
        assert page.visible.count(name) >= 2
    assert page.visible.count("all 4 sources") == 2
    assert f"total{found.ledger.total[0]:+.4f}" in page.visible
    widths = re.findall(r"left:(-?[\d.]+)%;width:([\d.]+)%", found.to_html())
    assert widths
    assert all(0 <= float(a) and float(a) + float(b) <= 100.01 for a, b in widths)


def test_no_ledger_without_relevance():
    assert "ledger" not in Page(explanation([["a"]]).to_html()).visible


def test_three_thousand_words_stay_small():
    words = ["<incomprehensibility>"] * 3000
    assert len(explanation([words]).to_html().encode()) < 1_000_000


def test_several_tensors_have_headings():
    found = explanation([["a", "b"]])
    found.scores = {"<first>": torch.ones(1, 2), "second": torch.ones(1, 3)}
    page = Page(found.to_html())
    assert page.tokens == ["a", "b", "a", "b", "2"]
    assert "<first>" in page.visible


def test_images_are_png():
    scores = torch.tensor([[[1.0, 0.0, -1.0], [0.5, 0.0, 0.0]]])
    html = Explanation(scores=scores, output=torch.ones(1)).to_html()
    data = re.search(r'src="data:image/png;base64,([^"]+)"', html)[1]
    image = matplotlib.image.imread(io.BytesIO(base64.b64decode(data)), format="png")
    assert image.shape == (2, 3, 3)
    above, zero, below = image[0]
    assert above[0] > above[2]
    assert below[2] > below[0]
    assert (zero == 1).all()
    assert (image[1, 0] > above).any()


def test_shapes_that_cannot_be_shown_are_refused():
    scores = torch.ones(1, 2, 2, 2, 2)
    with pytest.raises(ArgumentError, match=r"\[1, 2, 2, 2, 2\]"):
        Explanation(scores=scores, output=torch.ones(1)).to_html()


def test_notebooks_get_a_fragment():
    html = explanation([list(HOSTILE)])._repr_html_()
    assert html.startswith('<div class="lrp-hooks"><style>')
    assert Page(html).tokens == Page(explanation([list(HOSTILE)]).to_html()).tokens
    assert "<body" not in html


def bars(html):
    """Return the rows of ledgers: name, number, class of colour, left edge, width."""
    found = re.findall(
        r'<th scope="row"><span[^>]*>([^<]+)</span></th><td>([^<]+)</td><td>'
        r'<span class="track"><span class="bar (\w+)" style="left:([\d.]+)%;'
        r"width:([\d.]+)%",
        html,
    )
    return [(n, float(v), c, float(x), float(w)) for n, v, c, x, w in found]


def test_bars_of_the_ledger_point_where_their_numbers_do():
    found = relevance(batch=1, tokens=[list("abcde")])
    groups, sources = found.to_html().split("all 4 sources")
    named = dict(found.ledger.groups)
    named["tokens"] = named.pop("inputs")
    for part, terms in ((groups, named), (sources, found.ledger.sources)):
        rows, largest = bars(part), max(abs(v.item()) for v in terms.values())
        assert {name for name, *_ in rows} == set(terms)
        for name, number, shade, left, width in rows:
            value = terms[name].item()
            assert number == pytest.approx(value, abs=1e-4)
            assert shade == ("p12" if value > 0 else "n12")
            assert width == pytest.approx(50 * abs(value) / largest, abs=0.01)
            edge = left if value > 0 else left + width
            assert edge == pytest.approx(50, abs=0.02)
    assert {shade for _, _, shade, *_ in bars(groups)} == {"p12", "n12"}


def test_the_output_and_the_error_are_the_ledgers():
    found = relevance(batch=1)
    found.ledger.sources["layer.0.softmax"] += 1.0  # so that it does not close
    seen = Page(found.to_html()).visible
    outputs = re.findall(r"output\s*([+-]\d+\.\d{4})", seen)
    assert outputs == [f"{found.output.item():+.4f}"] * 2
    (error,) = re.findall(r"error\s*([\d.]+e[+-]\d+)", seen)
    assert float(error) > 0.01
    assert float(error) == pytest.approx(found.ledger.error.item(), rel=0.06)


def test_numbers_lie_in_as_many_columns_as_the_image_has():
    html = Explanation(scores=torch.ones(1, 2, 3), output=torch.ones(1)).to_html()
    assert "grid-template-columns:repeat(3,1fr)" in html


def test_a_switch_shows_the_numbers_of_tokens_and_of_nothing_else():
    image = Explanation(scores=torch.ones(1, 2, 3), output=torch.ones(1)).to_html()
    assert '<details class="numbers' in explanation([["a"]]).to_html()
    assert '<details class="numbers' not in image
