"""Pages in a real browser: seen as typed, running nothing, readable, reachable."""

import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from generation_models import language_model, word_tokenizer
from hand_built import HOSTILE, explanation, hostile_text, shows
from lrp_hooks import Explanation, compare, explain, explain_generation, render
from lrp_hooks.views.explanation import Sheet
from shared_models import sentiment

SENTENCE = "a gripping, funny film with a weak ending"
drawn = settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
RECTANGLES = """spans => spans.map(span => {
    const box = span.getClientRects()[0] || span.getBoundingClientRect();
    return [box.left, box.right, box.top, box.bottom];
})"""
COLOURS = """spans => spans.map(span => {
    const style = getComputedStyle(span);
    let box = span, ground = style.backgroundColor;
    while (ground === 'rgba(0, 0, 0, 0)') {
        box = box.parentElement;
        ground = getComputedStyle(box).backgroundColor;
    }
    return [style.color, ground];
})"""


@pytest.fixture(scope="module")
def explained():
    model, tokenizer = sentiment()
    return explain(model, SENTENCE, tokenizer=tokenizer)


def contrast(first, second):
    """Return the contrast ratio of two CSS colours, as WCAG 2 defines it."""

    def luminance(colour):
        parts = [int(n) / 255 for n in re.findall(r"\d+", colour)[:3]]
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
        ]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@drawn
@given(st.lists(hostile_text, min_size=1, max_size=8))
def test_hostile_tokens_are_seen_as_typed_and_run_nothing(tab, tokens):
    names = {"labels": {1: tokens[0]}, "rules": tokens[-1]}
    tab.set_content(explanation([tokens], meta=names).to_html())
    seen = tab.eval_on_selector_all(".t", "spans => spans.map(s => s.textContent)")
    assert len(seen) == len(tokens) and all(map(shows, seen, tokens))
    assert tab.locator("script, img, iframe, a, form, link").count() == 0


def test_every_hostile_text_at_once(tab):
    tab.set_content(explanation([list(HOSTILE)]).to_html())
    seen = tab.eval_on_selector_all(".t", "spans => spans.map(s => s.textContent)")
    assert all(map(shows, seen, HOSTILE))


@pytest.mark.parametrize(
    "mark", ["\u202e", "\u2067", "\u200f", "مرحبا", "\u2069\u202e"]
)
def test_a_token_cannot_turn_its_neighbours_round(tab, mark):
    tokens = ["one", f"{mark}two", "three", "four"]
    tab.set_content(explanation([tokens]).to_html())
    boxes = tab.eval_on_selector_all(".t", RECTANGLES)
    assert [left for left, *_ in boxes] == sorted(left for left, *_ in boxes)


def test_pointing_at_a_token_shows_its_number(tab, explained):
    tab.set_content(explained.to_html())
    for t in (0, 2, 8):
        token = tab.locator(".t").nth(t)
        token.hover()
        assert token.evaluate("span => span.matches(':hover')")
        shown = float(token.get_attribute("title"))
        assert shown == pytest.approx(explained.scores[0, t].item(), abs=5e-5)


def test_numbers_without_a_pointer(tab, explained):
    tab.set_content(explained.to_html())
    after = "span => getComputedStyle(span, '::after').content"
    assert tab.locator(".t").nth(2).evaluate(after) == "none"
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    assert tab.locator(".t").nth(2).evaluate(after) != "none"
    width = tab.locator(".t").nth(2).bounding_box()["width"]
    tab.keyboard.press("Enter")
    assert tab.locator(".t").nth(2).bounding_box()["width"] < width - 20


def test_each_explanation_has_its_own_switch_for_numbers(tab):
    tab.set_content(
        render.page(
            Sheet([
                *explanation([["one"]]).view().views,
                *explanation([["two"]]).view().views,
            ])
        )
    )
    after = "spans => spans.map(s => getComputedStyle(s, '::after').content !== 'none')"
    for clicked, shown in ((0, [True, False]), (1, [True, True]), (0, [False, True])):
        tab.locator("summary").nth(clicked).click()
        assert tab.eval_on_selector_all(".t", after) == shown


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_level_can_be_read(tab, scheme):
    scores = torch.linspace(-1, 1, 49)[None]
    tab.emulate_media(color_scheme=scheme)
    tab.set_content(explanation([["word"] * 49], scores=scores).to_html())
    pairs = tab.eval_on_selector_all(".t", COLOURS)
    assert len({ground for _, ground in pairs}) == 25
    assert min(contrast(*pair) for pair in pairs) >= 4.5
    ground = pairs[24][1]
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


@pytest.mark.parametrize("width", [320, 1000])
def test_a_long_text_wraps(tab, width):
    tokens = ["word", "x" * 200, "映画" * 40, "👩‍👩‍👧"] * 50
    tab.set_viewport_size({"width": width, "height": 600})
    tab.set_content(explanation([tokens]).to_html())
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_a_right_to_left_text_starts_on_the_right(tab):
    special = {"special": [[True, False, False]]}
    found = explanation([["[CLS]", "مرحبا", "بالعالم"]], meta=special)
    tab.set_content(found.to_html())
    boxes = tab.eval_on_selector_all(".t", RECTANGLES)
    assert boxes[0][0] > boxes[1][0] > boxes[2][0] > 500


def test_a_picture_with_scores_over_it(tab):
    scores = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0))
    pictures = torch.rand(2, 3, 16, 16)
    found = Explanation(scores=scores, output=torch.ones(2), images=pictures)
    tab.set_content(found.to_html())
    sizes = tab.eval_on_selector_all("img", "all => all.map(i => i.naturalWidth)")
    assert sizes == [16] * 4
    # Each number stands where its score is: the fifth cell is second row, first column.
    image = tab.locator("img").nth(1).bounding_box()
    cell = tab.locator(".cells span").nth(4)
    box = cell.bounding_box()
    assert box["x"] == pytest.approx(image["x"], abs=1)
    assert box["y"] - image["y"] == pytest.approx(image["height"] / 4, abs=1)
    assert float(cell.get_attribute("title")) == pytest.approx(
        scores[0, 1, 0].item(), abs=5e-5
    )


def test_methods_as_rows(tab):
    model, tokenizer = sentiment()
    found = compare(model, SENTENCE, ("lrp", "attention_last"), tokenizer)
    tab.set_content(found.to_html(rows="methods"))
    assert tab.locator("p.text").count() == 2
    for n in (0, 1):
        words = tab.locator("p.text").nth(n).inner_text().split()
        assert words == found.tokens[0]


@pytest.fixture(scope="module")
def generated():
    model, tokenizer = language_model(), word_tokenizer()
    return explain_generation(
        model, tokenizer, "the capital of France is", max_new_tokens=4
    )


def grounds(tab):
    return [ground for _, ground in tab.eval_on_selector_all(".t", COLOURS)]


def test_a_generated_token_colours_what_it_drew_on(tab, generated):
    tab.set_content(generated.to_html())
    shown = []
    for t in range(len(generated.output)):
        tab.locator(f".g{t}").hover()
        shown.append(grounds(tab))
        row = generated.scores[t]
        strongest = int(row.abs().argmax())
        own = [n for n, ground in enumerate(shown[-1]) if ground != shown[-1][-1]]
        assert strongest in own
        assert not [n for n in own if n >= generated.prompt + t]
    assert len({tuple(row) for row in shown}) == len(shown)
    tab.mouse.move(0, 0)
    for t in range(len(generated.output)):
        tab.keyboard.press("Tab")
        assert grounds(tab) == shown[t]
        after = "span => getComputedStyle(span, '::after').content"
        assert tab.locator(f".g{t}").evaluate(after) != "none"
