"""A picture explained by the explorer: the library's page, its file, and refusals."""

import base64
import io
import json

import pytest
import torch

pytest.importorskip("PIL")

from explorer_server import serving
from lrp_hooks import explain
from lrp_hooks.texts.pictures import read_picture
from picture_models import Processor, picture_file, picture_model

MOST_PIXELS = "lrp_hooks.texts.pictures.MOST_PIXELS"


@pytest.fixture(scope="module")
def looking():
    with serving(picture_model(), None, processor=Processor()) as client:
        yield client


def encoded(data):
    return base64.b64encode(data).decode()


def ask(client, data=None, **question):
    sent = encoded(picture_file() if data is None else data)
    return client.ask("/picture", **{"picture": sent, **question})


def pixels():
    picture = read_picture(io.BytesIO(picture_file()), "the file")
    return Processor()(picture, return_tensors="pt")["pixel_values"]


@pytest.mark.parametrize(
    ("question", "method", "options"),
    [
        ({}, "lrp", {}),
        ({"target": "owl", "rules": "attnlrp"}, "lrp", {"rules": "attnlrp"}),
        ({"method": "saliency"}, "saliency", {}),
        ({"method": "attention_rollout"}, "attention_rollout", {}),
    ],
)
def test_the_page_is_that_of_the_library(looking, question, method, options):
    status, answer = ask(looking, **question)
    assert status == 200, answer
    target = question.get("target")
    found = explain(picture_model(), pixels(), method, target=target, **options)
    frame = json.loads(looking.send("/about")[2])["frame"]
    assert answer["html"].join(frame) == found.to_html()
    record = json.loads(answer["json"])
    assert torch.tensor(record["scores"]).allclose(found.scores[0], atol=1e-6)
    logits = picture_model()(pixels()).logits.softmax(-1)[0]
    label = ["cat", "dog", "owl"][int(logits.argmax())]
    assert f"{label} (probability {float(logits.max()):.4f})" in answer["prediction"]


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "WEBP"])
def test_other_formats_are_read(looking, kind):
    assert ask(looking, picture_file(kind))[0] == 200


@pytest.mark.parametrize(
    ("question", "status", "said"),
    [
        ({"picture": "no base64!"}, 400, "no base64"),
        ({"picture": encoded(b"no picture")}, 422, "no picture of a known format"),
        ({"picture": encoded(b"%PDF-1.4")}, 422, "no picture of a known format"),
        ({"picture": ""}, 422, "no picture of a known format"),
        ({"target": "cow"}, 422, "'cow'"),
        ({"method": "lime"}, 422, "'lime' is none for pictures"),
        ({"method": "saliency", "rules": "attnlrp"}, 422, "'rules'|rules="),
        ({"rules": "lrp"}, 422, "'lrp'"),
        ({"words": True}, 400, "'words' is no key"),
    ],
)
def test_what_cannot_be_is_refused(looking, question, status, said):
    import re

    found, answer = ask(looking, **question)
    assert (found, list(answer)) == (status, ["error"]), answer
    assert re.search(said, answer["error"]) and "\n" not in answer["error"]


@pytest.mark.parametrize("where", ["PIL.Image.MAX_IMAGE_PIXELS", MOST_PIXELS])
def test_a_file_of_too_many_pixels_is_refused(looking, monkeypatch, where):
    monkeypatch.setattr(where, 100)
    status, answer = ask(looking)
    assert status == 422 and "pixels. Make it smaller" in answer["error"]


def test_a_picture_may_be_larger_than_a_text(looking):
    large = picture_file(size=(500, 400))
    assert len(encoded(large)) > 256 * 1024
    assert ask(looking, large)[0] == 200
    assert ask(looking, bytes(7 * 1024 * 1024))[0] == 413
    assert looking.ask("/explain", text="a")[0] == 404


def test_a_model_of_texts_has_no_pictures(client):
    assert "picture" not in json.loads(client.send("/about")[2])
    assert ask(client)[0] == 404
