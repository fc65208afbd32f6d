"""The tab of pictures in a browser: a file chosen, explained and kept."""

import io
import json

import pytest
from playwright.sync_api import expect

pytest.importorskip("PIL")

from explorer_server import serving
from lrp_hooks import explain
from lrp_hooks.texts.pictures import read_picture
from picture_models import Processor, picture_file, picture_model


@pytest.fixture(scope="module")
def looking():
    with serving(picture_model(), None, processor=Processor()) as client:
        yield client


def chosen(tab, client, **choices):
    tab.goto(client.url)
    tab.wait_for_selector("#picture-method option", state="attached")
    file = {"name": "noise.png", "mimeType": "image/png", "buffer": picture_file()}
    tab.set_input_files("#picture-file", file)
    expect(tab.locator("#preview")).to_be_visible()
    for name, choice in choices.items():
        tab.select_option(f"#picture-{name}", choice)
    tab.click("#explain-picture")
    expect(tab.locator("#picture-status")).to_have_text("done", timeout=30_000)
    return tab


def direct(**options):
    picture = read_picture(io.BytesIO(picture_file()), "the file")
    pixels = Processor()(picture, return_tensors="pt")["pixel_values"]
    return explain(picture_model(), pixels, **options)


def kept(tab, kind):
    with tab.expect_download() as download:
        tab.click(f"#save-picture-{kind}")
    assert download.value.suggested_filename == f"picture.{kind}"
    return download.value.path().read_bytes().decode()


def test_a_picture_is_chosen_explained_and_kept(tab, looking):
    chosen(tab, looking, label="owl")
    found = direct(target="owl")
    assert tab.locator("#seen-page img").count() >= 1
    body = found.to_html().split("<body>")[1].split("</body>")[0]
    assert body.strip()[:200] in kept(tab, "html")
    assert json.loads(kept(tab, "json"))["target"] == "owl"


def test_the_only_tab_is_that_of_pictures(tab, looking):
    chosen(tab, looking)
    assert tab.locator("[role=tab]:visible").all_inner_texts() == ["Picture"]
    assert tab.locator("[role=tabpanel]:visible").count() == 1


def test_rules_belong_to_relevance(tab, looking):
    chosen(tab, looking, method="saliency")
    assert tab.is_disabled("#picture-rules")


def test_without_a_picture_one_is_asked_for(tab, looking):
    tab.goto(looking.url)
    tab.wait_for_selector("#picture-method option", state="attached")
    tab.click("#explain-picture")
    expect(tab.locator("#picture-error")).to_have_text("Choose a picture first.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1400])
def test_nothing_hangs_over_the_side(tab, looking, width, scheme):
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size({"width": width, "height": 700})
    chosen(tab, looking)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
