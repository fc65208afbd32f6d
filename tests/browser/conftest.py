"""A real browser, where there is one: Chromium without a window."""

import os
import shutil

import pytest
from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
EXECUTABLE = next(filter(None, map(shutil.which, NAMES)), None)
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@pytest.fixture(scope="session")
def browser():
    """Start the browser once; without one, its tests are skipped, but not in CI."""
    if EXECUTABLE is None:
        if "CI" in os.environ:
            pytest.fail("CI must have a chromium: .ci/run installs it")
        pytest.skip("no chromium on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture
def tab(browser):
    """Open an empty page; what it complains of, or asks of others, fails the test."""
    context = browser.new_context(viewport={"width": 1000, "height": 800})
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    context.close()
    local = ("http://127.0.0.1:", "data:", "about:", "blob:", "file:")
    assert not [url for url in asked if not url.startswith(local)]
    assert not said
