"""What is done and read on the page of the explorer, in a browser."""

from contextlib import contextmanager

from playwright.sync_api import expect

TEXT = "a gripping, funny film with a weak ending"
NUMBERS = "(spans) => spans.map((span) => Number(span.title))"


def opened(tab, client):
    tab.goto(client.url)
    tab.wait_for_selector("#method option", state="attached")
    return tab


def explained(tab, text=None):
    """Type a text, press the button, and wait until everything is there."""
    if text is not None:
        tab.fill("#text", text)
    tab.click("#explain")
    return finished(tab)


def finished(tab):
    expect(tab.locator("#status")).to_have_text("done", timeout=30_000)
    return tab


def tokens(tab):
    return tab.locator("#explanation .text .t").all_text_contents()


def titles(tab):
    return tab.eval_on_selector_all("#explanation .text .t", NUMBERS)


@contextmanager
def quiet_page(browser, *, allowed):
    """Open a page on which the browser may report one status, and nothing else."""
    context = browser.new_context()
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    assert said and all(f"status of {allowed}" in line for line in said), said


@contextmanager
def settled(tab, path):
    """Let an answer come within the block, and the page do with it what it will."""
    with tab.expect_response(path) as received:
        yield
    received.value.finished()
    tab.evaluate("() => new Promise(requestAnimationFrame)")
