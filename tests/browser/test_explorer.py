"""The explorer in a browser: typed, clicked, and read as people do."""

import re

import pytest
import torch
from playwright.sync_api import expect

from explorer_page import (
    NUMBERS,
    TEXT,
    explained,
    finished,
    opened,
    quiet_page,
    settled,
    titles,
    tokens,
)
from explorer_server import serving
from generation_models import Bag, language_model, word_tokenizer
from lrp_hooks import explain

HOSTILE = (
    "<script>alert(1)</script> \"good\" 'bad' </textarea><img src=x onerror=alert(1)> "
    "&amp; \u202ereversed\u202c \u2066isolated 👩‍👩‍👧 مرحبا"
)


def downloaded(tab, folder):
    """Press the button, and return the file."""
    with tab.expect_download() as download:
        tab.click("#download")
    assert download.value.suggested_filename == "explanation.html"
    path = folder / "explanation.html"
    download.value.save_as(path)
    return path


def test_a_text_is_explained(tab, client, sentiment):
    explained(opened(tab, client), TEXT)
    model, tokenizer = sentiment
    expected = explain(model, TEXT, "lrp", tokenizer)
    assert tokens(tab) == expected.tokens[0]
    assert titles(tab) == pytest.approx(expected.scores[0].tolist(), abs=1e-4)
    assert "positive" in tab.inner_text("#prediction")
    assert "ledger" in tab.inner_text("#explanation")
    assert "attention" in tab.inner_text("#methods")
    assert tab.inner_text("#status") == "done"
    assert tab.inner_text("#error") == ""


def test_method_rules_target_and_words_are_chosen(tab, client, sentiment):
    model, tokenizer = sentiment
    opened(tab, client)
    tab.select_option("#rules", "attnlrp")
    tab.select_option("#label", "negative")
    tab.check("#words")
    explained(tab, "unfilmable dreadfullish")
    expected = explain(
        model, "unfilmable dreadfullish", "lrp", tokenizer, "negative", rules="attnlrp"
    ).words()
    assert tokens(tab) == expected.tokens[0]
    assert titles(tab) == pytest.approx(expected.scores[0].tolist(), abs=1e-4)
    tab.select_option("#method", "decompx")
    assert tab.is_disabled("#rules")
    explained(tab)
    assert "decompx" in tab.inner_text("#explanation")


def test_a_hostile_text_is_shown_as_typed_and_runs_nothing(tab, client, tmp_path):
    explained(opened(tab, client), HOSTILE)
    assert tab.input_value("#text") == HOSTILE
    assert "script" in tokens(tab)  # the tokenizer does not know the brackets
    assert tab.locator("main img, main script").count() == 0
    tab.goto(f"file://{downloaded(tab, tmp_path)}")
    assert tab.inner_text(".text >> nth=0").replace("\n", "") == HOSTILE
    assert tab.locator("img, script").count() == 0


def test_the_download_is_one_file_with_the_same_numbers(tab, client, tmp_path):
    explained(opened(tab, client), TEXT)
    tab.locator("#explanation .text .t").nth(2).click()
    tab.wait_for_selector("#chart tr")
    numbers = titles(tab)
    table = tab.inner_text("#methods table >> nth=0")
    path = downloaded(tab, tmp_path)
    written = path.read_text()
    assert not re.search(r"<script|<link|src=\"?http|url\(", written)
    tab.context.set_offline(True)
    tab.goto(f"file://{path}")
    assert tab.eval_on_selector_all(".text .t[title]", NUMBERS) == numbers
    body = tab.inner_text("body")
    assert TEXT in body and "positive" in body and "entered above" in body
    assert table in body


def test_the_keyboard_is_enough(tab, client):
    opened(tab, client)
    tab.focus("#text")
    tab.keyboard.press("Control+a")
    tab.keyboard.type("so good")
    order = []
    for _ in range(5):
        tab.keyboard.press("Tab")
        order.append(tab.evaluate("document.activeElement.id"))
    assert order == ["method", "rules", "label", "words", "explain"]
    tab.keyboard.press("Enter")
    finished(tab)
    stops = tab.locator("#explanation [role=button][tabindex='0']")
    assert stops.count() == 1  # for all tokens
    while tab.evaluate("document.activeElement.role") != "button":
        tab.keyboard.press("Tab")
    focused = "document.activeElement.textContent"
    for key, token in (
        ("ArrowRight", "so"),
        ("ArrowRight", "good"),
        ("ArrowLeft", "so"),
        ("End", "[SEP]"),
        ("ArrowRight", "[SEP]"),
        ("Home", "[CLS]"),
        ("ArrowLeft", "[CLS]"),
    ):
        tab.keyboard.press(key)
        assert tab.evaluate(focused) == token
    style = "getComputedStyle(document.activeElement).outlineStyle"
    assert tab.evaluate(style) == "solid"
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#chart tr")
    assert tab.inner_text("#chosen") == "[CLS]"


def test_every_control_has_a_name(tab, client):
    explained(opened(tab, client))
    unnamed = tab.evaluate(
        "[...document.querySelectorAll('textarea, select, input')]"
        ".filter((control) => !control.labels.length).length"
    )
    assert unnamed == 0
    for panel in ("#classify", "#answer"):
        told = tab.locator(f"{panel} [role=status], {panel} [role=alert]")
        assert told.count() == 2


@pytest.mark.parametrize("width", [320, 1400])
def test_nothing_hangs_over_the_side(tab, client, width):
    tab.set_viewport_size({"width": width, "height": 700})
    explained(opened(tab, client), f"{TEXT} {'a' * 90} {HOSTILE}")
    tab.locator("#explanation .text .t").nth(2).click()
    tab.wait_for_selector("#chart tr")
    tab.click("#flow summary")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_two_at_once_see_their_own(browser, client, sentiment):
    model, tokenizer = sentiment
    texts = ("an overlong , unfunny mess", "the acting saves it")
    contexts = [browser.new_context() for _ in texts]
    tabs = [opened(context.new_page(), client) for context in contexts]
    for tab, text in zip(tabs, texts, strict=True):
        tab.fill("#text", text)
    for tab in tabs:
        tab.click("#explain")
    for tab in tabs:
        finished(tab)
    for tab, text in zip(tabs, texts, strict=True):
        expected = explain(model, text, "lrp", tokenizer)
        assert tokens(tab) == expected.tokens[0]
        assert titles(tab) == pytest.approx(expected.scores[0].tolist(), abs=1e-4)
    for context in contexts:
        context.close()


def test_words_are_merged_as_soon_as_they_are_asked_for(tab, client):
    explained(opened(tab, client), "unfilmable")
    assert len(tokens(tab)) > 3
    with tab.expect_response("**/compare"):
        tab.check("#words")
    finished(tab)
    assert tokens(tab) == ["[CLS]", "unfilmable", "[SEP]"]


def test_a_new_question_gives_up_the_old_one(tab, client):
    def hold(route):
        if "old" not in route.request.post_data:
            route.continue_()

    opened(tab, client)
    given_up = []
    tab.on("requestfailed", lambda request: given_up.append(request.post_data))
    tab.route("**/explain", hold)
    tab.fill("#text", "old")
    tab.click("#explain")
    explained(tab, "new")
    assert len(given_up) == 1 and "old" in given_up[0]


def test_an_answer_that_comes_late_is_dropped(tab, client):
    """The first answer is held back until the second is shown."""
    held = []

    def hold(route):
        if "overlong" in route.request.post_data and not held:
            held.append((route, route.fetch()))
        else:
            route.continue_()

    opened(tab, client)
    # Were the first request given up, as it is, there would be nothing to come late.
    tab.evaluate("AbortController.prototype.abort = () => {}")
    tab.route("**/explain", hold)
    tab.fill("#text", "an overlong mess")
    tab.click("#explain")
    while not held:
        tab.wait_for_timeout(10)
    explained(tab, "so good")
    route, response = held[0]
    with settled(tab, "**/explain"):
        route.fulfill(response=response)
    assert tokens(tab) == ["[CLS]", "so", "good", "[SEP]"]
    assert tab.inner_text("#status") == "done"


def test_a_text_that_is_too_long_is_refused_in_a_sentence(browser, client):
    with quiet_page(browser, allowed=413) as page:
        opened(page, client)
        page.fill("#text", "word " * 10_000)
        page.click("#explain")
        told = "the text has 10,000 words; lrp explains at most 128 tokens"
        expect(page.locator("#error")).to_contain_text(told)
        assert page.inner_text("#status") == ""
        assert page.is_disabled("#download")
        explained(page, TEXT)
        assert page.inner_text("#error") == ""


def test_a_language_model_takes_a_token_as_its_target(tab):
    model, tokenizer = language_model("Llama", torch.float32), word_tokenizer()
    text = "the capital of France is"
    with serving(model, tokenizer) as client:
        opened(tab, client).click("#classify-tab")
        assert tab.inner_text("#classify-tab") == "Next token"
        assert "has no labels" in tab.inner_text("#instead")
        assert not tab.is_visible("#label")
        tab.fill("#token", "Paris")
        explained(tab, text)
        expected = explain(
            model, text, "lrp", tokenizer, tokenizer.convert_tokens_to_ids("Paris")
        )
        assert titles(tab) == pytest.approx(expected.scores[0].tolist(), abs=1e-4)


def test_a_model_without_blocks_or_rules_says_so(browser):
    with (
        serving(Bag().eval(), word_tokenizer()) as client,
        quiet_page(browser, allowed=422) as page,
    ):
        explained(opened(page, client), "the capital of France")
        assert "i0 (in the model)" in page.inner_text("#prediction [role=note]")
        page.locator("#explanation .text .t").first.click()
        expect(page.locator("#layers-said")).to_contain_text("has no list of modules")
        assert not page.is_visible("#chart")
        assert page.is_visible("#explanation table")


def test_a_server_that_has_gone_is_said_to_have_gone(browser, sentiment):
    context = browser.new_context()
    page = context.new_page()
    with serving(*sentiment) as client:
        opened(page, client)
    page.click("#explain")
    told = "Is lrp-hooks serve still running?"
    expect(page.locator("#error")).to_contain_text(told)
    context.close()
