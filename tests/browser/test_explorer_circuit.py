"""The tab of circuits in a browser: a text traced, nodes pointed at, files kept."""

import json

import pytest
from playwright.sync_api import expect

from explorer_page import opened, quiet_page
from explorer_server import serving
from lrp_hooks import find_circuit
from lrp_hooks.sentiment import sentiment_model

TEXT = "short, but not at all sweet"


@pytest.fixture(scope="module")
def tracing():
    with serving(*sentiment_model()) as client:
        yield client


def traced(tab, client, **choices):
    opened(tab, client)
    tab.click("#circuit-tab")
    tab.fill("#circuit-text", TEXT)
    for name, choice in choices.items():
        tab.select_option(f"#{name}", choice)
    tab.fill("#max-nodes", "20")
    tab.click("#explain-circuit")
    expect(tab.locator("#circuit-status")).to_have_text("done", timeout=30_000)
    return tab


def direct(target=None, nodes=("neurons",)):
    model, tokenizer = sentiment_model()
    options = {"tokenizer": tokenizer, "nodes": nodes, "max_nodes": 20}
    return find_circuit(model, TEXT, target, **options)


def kept(tab, kind):
    with tab.expect_download() as download:
        tab.click(f"#save-circuit-{kind}")
    assert download.value.suggested_filename == f"circuit.{kind}"
    return download.value.path().read_bytes().decode()


def test_a_text_is_traced_and_files_are_those_of_the_library(tab, tracing):
    traced(tab, tracing, nodes="both", **{"circuit-label": "negative"})
    found = direct("negative", ("neurons", "heads"))
    assert tab.locator("#traced-page g.v").count() == len(found.nodes)
    assert kept(tab, "html") == found.to_html()
    assert json.loads(kept(tab, "json")) == found.attribution_graph()


def test_a_node_tells_its_numbers_to_mouse_and_keyboard(tab, tracing):
    traced(tab, tracing)
    strongest = direct().kept[0]
    title = f"neuron {strongest.layer}.{strongest.index} at {strongest.position}"
    node = tab.locator(f"#traced-page g.v[aria-label*='{title} ']").first
    node.focus()
    shown = tab.locator("#traced-page .panels > div:visible b").inner_text()
    assert shown.startswith(title) and f"{strongest.relevance:+.4f}" in shown


def test_what_is_shown_goes_stale_with_its_question(tab, tracing):
    traced(tab, tracing)
    assert "stale" not in tab.get_attribute("#traced", "class")
    tab.fill("#max-nodes", "21")
    assert "stale" in tab.get_attribute("#traced", "class")
    tab.fill("#max-nodes", "20")
    assert "stale" not in tab.get_attribute("#traced", "class")


def test_an_error_is_told(browser, tracing):
    with quiet_page(browser, allowed=422) as page:
        traced(page, tracing)
        page.fill("#circuit-text", " ")
        page.click("#explain-circuit")
        expect(page.locator("#circuit-error")).not_to_be_empty()
        assert page.inner_text("#circuit-status") == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1400])
def test_nothing_hangs_over_the_side(tab, tracing, width, scheme):
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size({"width": width, "height": 700})
    traced(tab, tracing, nodes="both")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
