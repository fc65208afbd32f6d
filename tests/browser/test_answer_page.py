"""The page of an answer in a real browser: choosing, colours, hostile texts."""

from dataclasses import replace

import pytest

from generation_models import language_model, word_tokenizer
from hand_built import HOSTILE
from lrp_hooks import explain_answer
from lrp_hooks.support.passages import Passage

GROUND = "spans => spans.map(span => getComputedStyle(span).backgroundColor)"


@pytest.fixture(scope="module")
def found():
    prompt = "Paris is a . \n London one two . \n London is b ."
    answer = " Paris a . London two ."
    return explain_answer(language_model(), word_tokenizer(), prompt, answer)


def colours(tab):
    return tab.eval_on_selector_all("[class^='of k']", GROUND)


def test_a_chosen_span_colours_its_sources_and_opens_its_sum(tab, found):
    tab.set_content(found.to_html())
    seen = []
    for a in range(2):
        tab.locator("label").nth(a).click()
        panels = [tab.locator(f".d{n}").is_visible() for n in range(2)]
        assert panels == [n == a for n in range(2)]
        seen.append(colours(tab))
        strongest = int(found.scores[a].abs().argmax())
        assert seen[a][strongest] != "rgba(0, 0, 0, 0)"
    assert seen[0] != seen[1]
    tab.keyboard.press("ArrowLeft")
    assert colours(tab) == seen[0]


def test_prompt_and_answer_are_seen_as_written(tab, found):
    tab.set_content(found.to_html())
    answer, prompt = (tab.locator("p.whole").nth(n).inner_text() for n in (0, 1))
    assert answer.split() == found.answer.split()
    assert prompt.split() == found.prompt.split()
    assert len(prompt.splitlines()) >= 3


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_hangs_over_the_side(tab, found, width):
    tab.set_viewport_size({"width": width, "height": 700})
    tab.set_content(found.to_html())
    wide = tab.evaluate("document.documentElement.scrollWidth")
    assert wide <= width


def test_a_hostile_answer_runs_nothing(tab, found):
    text = " ".join(HOSTILE)
    whole = [Passage(text, 0, len(text))]
    hostile = replace(
        found,
        prompt=text,
        answer=text,
        sources=whole,
        spans=whole,
        scores=found.scores[:1, :1],
        output=found.output[:1],
        ledger=None,
    )
    tab.set_content(hostile.to_html())
    assert tab.locator("label").count() == 1
    assert not tab.locator("script, img, iframe").count()
