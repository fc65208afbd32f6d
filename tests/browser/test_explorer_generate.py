"""The tab of generations in a browser: tokens pointed at, stepped to, files kept."""

import json

import pytest
import torch
from playwright.sync_api import expect

from explorer_page import opened, quiet_page
from explorer_server import serving
from generation_models import language_model, word_tokenizer
from lrp_hooks import explain_generation
from lrp_hooks.generation.record import record
from lrp_hooks.support.plain_json import to_json

PROMPT = "the capital of France is"


@pytest.fixture(scope="module")
def asking():
    with serving(language_model("Llama", torch.float32), word_tokenizer()) as client:
        yield client


@pytest.fixture(scope="module")
def found():
    model, tokenizer = language_model("Llama", torch.float32), word_tokenizer()
    return explain_generation(model, tokenizer, PROMPT, max_new_tokens=6)


def written(tab, client):
    opened(tab, client)
    tab.click("#generate-tab")
    tab.fill("#prompt", PROMPT)
    tab.fill("#written-tokens", "6")
    tab.press("#prompt", "Control+Enter")
    expect(tab.locator("#generate-status")).to_have_text("done", timeout=30_000)
    return tab


def kept(tab, kind):
    with tab.expect_download() as download:
        tab.click(f"#save-generate-{kind}")
    assert download.value.suggested_filename == f"generation.{kind}"
    return download.value.path().read_bytes().decode()


def coloured(tab):
    """How many tokens of the text have a colour of their own."""
    return tab.eval_on_selector_all(
        "#written-page .t",
        "(all) => new Set(all.map((s) => getComputedStyle(s).backgroundColor)).size",
    )


def test_files_are_those_of_the_library(tab, asking, found):
    written(tab, asking)
    assert kept(tab, "html") == found.to_html()
    assert json.loads(kept(tab, "json")) == json.loads(to_json(record(found)))


def test_a_token_shows_what_it_drew_on_to_mouse_and_keyboard(tab, asking, found):
    written(tab, asking)
    made = tab.locator("#written-page .made")
    assert made.count() == 6
    made.nth(3).hover()
    pointed = coloured(tab)
    assert pointed > 1
    tab.mouse.move(0, 0)
    made.nth(3).focus()
    assert coloured(tab) == pointed
    assert found.generated[3] in made.nth(3).get_attribute("title")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_room_for_it(tab, asking, scheme):
    tab.set_viewport_size({"width": 390, "height": 800})
    tab.emulate_media(color_scheme=scheme)
    written(tab, asking)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    ground, ink = tab.evaluate(
        "['backgroundColor', 'color'].map((k) => getComputedStyle(document.body)[k])"
    )
    assert ground != ink


def test_what_follows_is_explained_instead(tab, asking):
    opened(tab, asking)
    tab.click("#generate-tab")
    tab.fill("#prompt", PROMPT)
    tab.fill("#continuation", " Paris .")
    assert tab.is_hidden("#written-tokens")
    tab.fill("#rival", "London")
    tab.click("#explain-generation")
    expect(tab.locator("#generate-status")).to_have_text("done", timeout=30_000)
    assert "London" in tab.inner_text("#written-page")


def test_a_classifier_says_that_it_writes_nothing(tab, client):
    opened(tab, client)
    tab.click("#generate-tab")
    assert "no language model that writes" in tab.inner_text("#generate")
    controls = "#generate :is(button, textarea, select):visible"
    assert tab.locator(controls).count() == 0


def test_a_refusal_is_shown(browser, asking):
    with quiet_page(browser, allowed=422) as tab:
        opened(tab, asking)
        tab.click("#generate-tab")
        tab.fill("#prompt", " ")
        tab.click("#explain-generation")
        expect(tab.locator("#generate-error")).to_contain_text("blank")
