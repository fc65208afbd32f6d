"""A generation asked of the explorer: the library's page, its file, and refusals."""

import json

import pytest
import torch

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


def direct(**options):
    model, tokenizer = language_model("Llama", torch.float32), word_tokenizer()
    return explain_generation(model, tokenizer, PROMPT, **options)


def refusal(client, **question):
    status, answer = client.ask("/generate", **{"prompt": PROMPT, **question})
    assert list(answer) == ["error"], (status, answer)
    return status, answer["error"]


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ({"max_new_tokens": 4}, {"max_new_tokens": 4}),
        (
            {"continuation": " Paris .", "contrast": "London", "rules": "attnlrp"},
            {"continuation": " Paris .", "contrast": "London", "rules": "attnlrp"},
        ),
    ],
)
def test_page_and_file_are_those_of_the_library(asking, question, options):
    status, answer = asking.ask("/generate", prompt=PROMPT, **question)
    assert status == 200, answer
    found = direct(**options)
    frame = json.loads(asking.send("/about")[2])["frame"]
    assert answer["html"].join(frame) == found.to_html()
    assert json.loads(answer["json"]) == json.loads(to_json(record(found)))


def test_whole_words(asking):
    _, answer = asking.ask(
        "/generate", prompt="un do", continuation=" undo", words=True
    )
    assert json.loads(answer["json"])["tokens"] == ["un", "do", "undo"]


def test_what_may_be_asked_is_told(asking, client):
    about = json.loads(asking.send("/about")[2])["generate"]
    assert about == {"cannot": None, "chat": False, "longest": 32}
    cannot = json.loads(client.send("/about")[2])["generate"]["cannot"]
    assert "no language model that writes" in cannot


@pytest.mark.parametrize(
    ("question", "status", "message"),
    [
        ({"prompt": " "}, 422, "the prompt is blank"),
        ({"rules": "nosuch"}, 422, "nosuch"),
        ({"max_new_tokens": 0}, 400, "from 1 to 128"),
        ({"max_new_tokens": 100}, 413, "at most 32 tokens"),
        ({"prompt": "a " * 40}, 413, "at most 32 tokens"),
        ({"words": 1}, 400, "'words' is a number"),
        ({"nosuch": 1}, 400, "'nosuch' is no key"),
    ],
)
def test_refusals(asking, question, status, message):
    code, said = refusal(asking, **question)
    assert (code, message in said) == (status, True), said


def test_a_classifier_writes_nothing(client):
    code, said = refusal(client)
    assert code == 422 and "no language model that writes" in said
