"""The tab of answers in a browser: passages pasted, a question asked, files kept."""

import csv
import io
import json

import pytest
import torch
from playwright.sync_api import expect

from explorer_page import opened, quiet_page, settled
from explorer_server import serving
from generation_models import language_model, word_tokenizer
from hand_built import HOSTILE
from lrp_hooks import explain_answer

PASSAGES = ["Paris is the capital of France .", "London is a capital .\none two ."]
QUESTION = "the capital of France is"
GIVEN = "Paris . London is a capital ."
CHAT = "{% for m in messages %}<s> {{ m['content'] }} </s> {% endfor %}"


def small_model():
    return language_model("Llama", torch.float32, max_position_embeddings=200)


def chat_tokenizer():
    tokenizer = word_tokenizer()
    tokenizer.chat_template = CHAT
    return tokenizer


@pytest.fixture(scope="module")
def asking():
    with serving(small_model(), word_tokenizer()) as client:
        yield client


@pytest.fixture(scope="module")
def chatting():
    with serving(small_model(), chat_tokenizer()) as client:
        yield client


def asked(tab, answer=GIVEN):
    """Fill the form in, press the button, and wait for the answer."""
    tab.fill("#passages", "\n\n".join(PASSAGES))
    tab.fill("#asked", QUESTION)
    tab.fill("#given", answer)
    return explained(tab)


def explained(tab):
    tab.click("#explain-answer")
    return finished(tab)


def finished(tab):
    expect(tab.locator("#answer-status")).to_have_text("done", timeout=30_000)
    return tab


def direct(answer=f" {GIVEN}", tokenizer=None, **options):
    options.setdefault("sources", PASSAGES)
    prompt = "\n\n".join([*PASSAGES, QUESTION])
    tokenizer = tokenizer or word_tokenizer()
    return explain_answer(small_model(), tokenizer, prompt, answer, **options)


def kept(tab, kind):
    """Press a button, and return the text of the file."""
    with tab.expect_download() as download:
        tab.click(f"#save-{kind}")
    assert download.value.suggested_filename == f"answer.{kind}"
    return download.value.path().read_bytes().decode()


def coloured(tab):
    ground = "spans => spans.map(span => getComputedStyle(span).backgroundColor)"
    return tab.eval_on_selector_all("#drawn-page [class^='of k']", ground)


def test_a_language_model_opens_on_answers_and_shows_what_one_drew_on(tab, asking):
    opened(tab, asking)
    assert tab.is_visible("#answer") and not tab.is_visible("#classify")
    asked(tab)
    found = direct()
    parts = tab.locator("#drawn-page label").all_inner_texts()
    assert parts == [span.text for span in found.spans]
    first = coloured(tab)
    assert len(first) == len(PASSAGES) and "rgba(0, 0, 0, 0)" not in first
    tab.locator("#drawn-page label").nth(1).click()
    assert coloured(tab) != first
    output = tab.inner_text("#drawn-page .d1 .sum td >> nth=0")
    assert float(output) == pytest.approx(float(found.output[1]), abs=1e-3)


def test_files_are_those_of_the_library(tab, asking):
    asked(opened(tab, asking))
    found = direct()
    assert kept(tab, "html") == found.to_html()
    assert json.loads(kept(tab, "json"))["scores"] == found.scores.tolist()
    rows = list(csv.DictReader(io.StringIO(kept(tab, "csv"), newline="")))
    assert [row["source_text"] for row in rows] == PASSAGES * 2
    assert [float(row["score"]) for row in rows] == found.scores.flatten().tolist()


def test_every_choice_is_asked_for(tab, asking):
    opened(tab, asking)
    tab.select_option("#sources", label="all sentences")
    tab.select_option("#spans", label="the whole answer")
    tab.fill("#hops", "2")
    asked(tab)
    expected = direct(sources="sentences", spans="all", hops=2)
    assert kept(tab, "html") == expected.to_html()
    tab.select_option("#answer-method", label="leave one out")
    assert not tab.is_visible("#hops") and not tab.is_visible("#calls")
    explained(tab)
    expected = direct(sources="sentences", spans="all", method="leave_one_out")
    assert kept(tab, "html") == expected.to_html()
    tab.select_option("#sources", label="the passages")
    tab.select_option("#answer-method", label="ablation")
    tab.fill("#calls", "7")
    explained(tab)
    assert json.loads(kept(tab, "json"))["meta"]["calls"] == 1 + 7


def test_without_an_answer_the_model_writes_one(tab, asking):
    opened(tab, asking)
    assert tab.is_visible("#new-tokens") and not tab.is_visible("#chat")
    tab.fill("#new-tokens", "6")
    asked(tab, answer="")
    assert kept(tab, "html") == direct(None, max_new_tokens=6).to_html()
    tab.fill("#given", "Paris")
    assert not tab.is_visible("#new-tokens")


def test_a_chat_is_offered_where_there_is_a_template(tab, chatting):
    opened(tab, chatting)
    assert tab.is_checked("#chat")
    asked(tab)
    expected = direct(GIVEN, chat_tokenizer(), chat=True)
    assert kept(tab, "html") == expected.to_html()
    tab.uncheck("#chat")
    assert "stale" in tab.get_attribute("#drawn", "class").split()
    explained(tab)
    assert kept(tab, "html") == direct().to_html()


def test_what_a_classifier_cannot_do_is_told_in_a_sentence(tab, client):
    opened(tab, client)
    assert tab.is_visible("#classify") and not tab.is_visible("#answer")
    tab.click("#answer-tab")
    assert "is no causal language model" in tab.inner_text("#answer")
    assert tab.locator("#answer :is(button, textarea, select):visible").count() == 0


def test_the_keyboard_is_enough(tab, asking):
    opened(tab, asking)
    tab.focus("#answer-tab")
    for key, panel in (
        ("ArrowLeft", "classify"),
        ("ArrowLeft", "circuit"),
        ("Home", "classify"),
        ("End", "circuit"),
        ("ArrowLeft", "generate"),
        ("ArrowLeft", "answer"),
    ):
        tab.keyboard.press(key)
        assert tab.evaluate("document.activeElement.id") == f"{panel}-tab"
        assert tab.is_visible(f"#{panel}")
        assert tab.get_attribute(f"#{panel}-tab", "aria-selected") == "true"
    order = []
    for _ in range(10):
        tab.keyboard.press("Tab")
        order.append(tab.evaluate("document.activeElement.id"))
    fields = "passages asked given sources spans answer-method wrt hops new-tokens"
    assert order == [*fields.split(), "explain-answer"]
    tab.focus("#given")
    tab.keyboard.type("Paris . London .")
    tab.keyboard.press("Control+Enter")
    finished(tab)
    tab.focus("#save-csv")
    tab.keyboard.press("Tab")
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#drawn-page input").nth(1).is_checked()
    assert tab.locator("#drawn-page .d1").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1400])
def test_nothing_hangs_over_the_side(tab, asking, width, scheme):
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size({"width": width, "height": 700})
    opened(tab, asking)
    tab.fill("#given", f"{'a' * 90} {'http://a.b/' * 9} c .")
    explained(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_hostile_passages_run_nothing(tab, asking):
    opened(tab, asking)
    tab.fill("#passages", "\n\n".join(HOSTILE[:5]))
    tab.fill("#given", "".join(HOSTILE[:5]))
    explained(tab)
    assert tab.locator("main img, main script").count() == 0
    assert HOSTILE[0] in tab.inner_text("#drawn-page")


def test_every_control_has_a_name(tab, chatting):
    opened(tab, chatting)
    unnamed = tab.evaluate(
        "[...document.querySelectorAll('textarea, select, input')]"
        ".filter((control) => !control.labels.length).length"
    )
    assert unnamed == 0
    names = tab.locator("#answer button").evaluate_all(
        "buttons => buttons.map(b => b.ariaLabel ?? b.textContent)"
    )
    files = [f"Download as {kind}" for kind in ("HTML", "JSON", "CSV")]
    assert names == ["Explain", *files]


def test_an_answer_that_comes_late_is_dropped(tab, asking):
    held = []

    def hold(route):
        if "one two three" in route.request.post_data and not held:
            held.append((route, route.fetch()))
        else:
            route.continue_()

    opened(tab, asking)
    # Were the first request given up, as it is, there would be nothing to come late.
    tab.evaluate("() => { AbortController.prototype.abort = () => {} }")
    tab.route("**/answer", hold)
    tab.fill("#given", "one two three")
    tab.click("#explain-answer")
    while not held:
        tab.wait_for_timeout(10)
    asked(tab)
    route, response = held[0]
    with settled(tab, "**/answer"):
        route.fulfill(response=response)
    assert kept(tab, "html") == direct().to_html()


def test_too_many_tokens_are_refused_in_a_sentence(browser, asking):
    with quiet_page(browser, allowed=413) as page:
        opened(page, asking)
        page.fill("#passages", "one " * 500)
        page.click("#explain-answer")
        told = "explains at most 200 tokens"
        expect(page.locator("#answer-error")).to_contain_text(told)
        assert page.inner_text("#answer-status") == ""
        asked(page)
        assert page.inner_text("#answer-error") == ""
