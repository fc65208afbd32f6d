"""The way of a token through the layers, as the page of the explorer shows it."""

import pytest
from playwright.sync_api import expect

from explorer_page import TEXT, explained, finished, opened, quiet_page, settled, tokens
from lrp_hooks import explain

BARS = """rows => rows.map(row => {
    const bar = row.querySelector('.scale span');
    const {left, width} = bar.style;
    const number = Number(row.cells[1].textContent);
    return [number, bar.className, parseFloat(left), parseFloat(width)];
})"""


def token(tab, place):
    return tab.locator("#explanation .text .t").nth(place)


def test_a_token_shows_its_way_through_the_layers(tab, client, sentiment):
    model, tokenizer = sentiment
    explained(opened(tab, client), TEXT)
    place = tokens(tab).index("funny")
    names = [f"bert.encoder.layer.{i}" for i in range(4)]
    found = explain(model, TEXT, "lrp", tokenizer, layers=names)
    rows = [found.scores, *(found.layers[name].sum(-1) for name in names)]

    def chart():
        tab.wait_for_selector("#chart tr")
        cells = tab.locator("#chart td:nth-child(2)").all_text_contents()
        return [float(cell) for cell in cells]

    tab.locator("#explanation .text .t").nth(place).click()
    assert chart() == pytest.approx([float(row[0, place]) for row in rows], abs=1e-4)
    assert tab.inner_text("#chosen") == "funny"
    tab.locator("#explanation .text .t").first.click()
    expect(tab.locator("#chosen")).to_have_text("[CLS]")
    assert chart() == pytest.approx([float(row[0, 0]) for row in rows], abs=1e-4)
    assert tab.locator("#explanation [aria-pressed=true]").all_inner_texts() == [
        "[CLS]"
    ]
    tab.click("#flow summary")
    assert "entered above" in tab.inner_text("#flow-picture")


@pytest.mark.parametrize("place", [0, 5, 8])  # of both signs, above and below 0
def test_bars_point_where_their_numbers_do(tab, client, place):
    explained(opened(tab, client), TEXT)
    token(tab, place).click()
    tab.wait_for_selector("#chart tr")
    rows = tab.eval_on_selector_all("#chart tr", BARS)
    assert len(rows) == 5
    assert (rows[0][0] < 0) == (place in {0, 8})
    largest = max(abs(number) for number, *_ in rows)
    for number, kind, left, width in rows:
        assert kind == ("up" if number > 0 else "")
        assert width == pytest.approx(50 * abs(number) / largest, abs=0.5)
        edge = left if number > 0 else left + width
        assert edge == pytest.approx(50, abs=0.1)


def test_layers_are_asked_for_again_after_a_failure(browser, client):
    calls = []

    def busy(route):
        calls.append(route)
        if len(calls) > 1:
            route.continue_()
        else:
            told = {"error": "Try again."}
            route.fulfill(status=503, json=told)

    with quiet_page(browser, allowed=503) as page:
        page.route("**/layers", busy)
        explained(opened(page, client), "so good")
        token(page, 1).click()
        expect(page.locator("#layers-said")).to_have_text("Try again.")
        assert not page.is_visible("#chart")
        token(page, 1).click()
        expect(page.locator("#layers-said")).to_contain_text("lrp (")
        assert page.is_visible("#chart")


def test_layers_of_an_old_text_are_dropped(tab, client):
    """They are asked for while a new text is explained, and come after it."""
    held = []

    def hold(route):
        held.append(route)

    explained(opened(tab, client), "so good")
    tab.route("**/explain", hold)
    tab.fill("#text", "an overlong mess")
    tab.click("#explain")
    expect(tab.locator("#status")).to_have_text("explaining")
    tab.route("**/layers", hold, times=1)
    with tab.expect_request("**/layers"):
        token(tab, 1).click()
    held[0].continue_()
    finished(tab)
    with settled(tab, "**/layers"):
        held[1].continue_()
    token(tab, 2).click()
    tab.wait_for_selector("#chart tr")
    shown = tab.locator("#flow-picture .t")
    expect(shown).to_have_text(["[CLS]", "an", "overlong", "mess", "[SEP]"])
