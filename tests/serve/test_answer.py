"""What an answer drew on, asked of the explorer: the library's page, and refusals."""

import csv
import io
import json
from contextlib import contextmanager
from html.parser import HTMLParser
from threading import Event

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import T5Config, T5ForConditionalGeneration

from explorer_server import serving
from generation_models import (
    VOCABULARY,
    language_model,
    merging_tokenizer,
    word_tokenizer,
)
from hand_built import HOSTILE, hostile_text
from lrp_hooks import explain_answer
from lrp_hooks.serve.answer import Answering
from lrp_hooks.serve.question import PassagesQuestion
from lrp_hooks.serve.work import AbandonedError

PASSAGES = ["Paris is the capital of France .", "London is a capital .\none two ."]
ASKED = {"passages": "\n\n  \n".join(PASSAGES), "question": "the capital of France is"}
PROMPT = "\n\n".join([*PASSAGES, ASKED["question"]])
GIVEN = "Paris . London is a capital ."
CHAT = (
    "{% for m in messages %}<s> {{ m['content'] }} </s> {% endfor %}"
    "{% if add_generation_prompt %}a {% endif %}"
)


def small_model():
    return language_model("Llama", torch.float32, max_position_embeddings=64)


def chat_tokenizer():
    tokenizer = word_tokenizer()
    tokenizer.chat_template = CHAT
    return tokenizer


@pytest.fixture(scope="module")
def asking():
    with serving(small_model(), chat_tokenizer()) as client:
        yield client


def about(client):
    return json.loads(client.send("/about")[2])


def page(client, **question):
    """The page that the explorer offers to keep."""
    status, answer = client.ask("/answer", **{**ASKED, **question})
    assert status == 200, answer
    return answer["html"].join(about(client)["frame"])


def refusal(client, **question):
    status, answer = client.ask("/answer", **{**ASKED, **question})
    assert list(answer) == ["error"], (status, answer)
    assert "\n" not in answer["error"] and answer["error"].endswith((".", "?"))
    return status, answer["error"]


def direct(answer=f" {GIVEN}", **options):
    options.setdefault("sources", PASSAGES)
    return explain_answer(small_model(), chat_tokenizer(), PROMPT, answer, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"spans": "all"},
        {"hops": 2},
        {"wrt": "cache"},
        {"sources": "sentences"},
        {"sources": "paragraphs"},
        {"method": "leave_one_out"},
    ],
)
def test_the_page_is_that_of_the_library(asking, options):
    assert page(asking, answer=GIVEN, **options) == direct(**options).to_html()


def test_a_chat_goes_through_its_template(asking):
    found = direct(GIVEN, chat=True)
    assert found.prompt.startswith("<s> Paris is")
    assert page(asking, answer=GIVEN, chat=True) == found.to_html()


@pytest.mark.parametrize("answer", ["", " \n"])
def test_without_an_answer_the_model_writes(asking, answer):
    found = direct(None, max_new_tokens=7)
    assert len(found.tokens) - len(PROMPT.split()) == 7
    assert page(asking, answer=answer, max_new_tokens=7) == found.to_html()


def test_an_answer_that_begins_with_space_is_taken_as_it_is(asking):
    assert page(asking, answer=f"\n{GIVEN}") == direct(f"\n{GIVEN}").to_html()


def test_ablations_are_as_many_as_asked_for(asking):
    _, answer = asking.ask("/answer", **ASKED, answer=GIVEN, method="ablation", calls=9)
    saved = json.loads(answer["json"])
    assert saved["method"] == "ablation"
    assert saved["meta"]["calls"] == 1 + 9


def test_the_files_hold_every_number(asking):
    _, answer = asking.ask("/answer", **ASKED, answer=GIVEN)
    saved, found = json.loads(answer["json"]), direct()
    assert saved["scores"] == found.scores.tolist()
    assert [source["text"] for source in saved["sources"]] == PASSAGES
    assert saved["prompt"] == PROMPT and saved["answer"] == f" {GIVEN}"
    of_span = zip(*saved["ledger"]["sources"].values(), saved["scores"], strict=True)
    for output, (*constants, scores) in zip(saved["output"], of_span, strict=True):
        assert sum(constants) + sum(scores) == pytest.approx(output, abs=1e-5)
    rows = list(csv.DictReader(io.StringIO(answer["csv"], newline="")))
    assert [float(row["score"]) for row in rows] == found.scores.flatten().tolist()
    assert [row["source_text"] for row in rows] == PASSAGES * 2
    assert {row["span_text"] for row in rows} == {"Paris .", "London is a capital ."}
    assert list(rows[0]) == list(found.to_dataframe().columns)


def test_about_says_which_tab_there_is(asking, client):
    told = about(asking)["answer"]
    assert told == {"cannot": None, "chat": True, "longest": 64}
    assert "has no labels" in about(asking)["instead"]
    assert about(client)["instead"] is None
    cannot = about(client)["answer"]["cannot"]
    assert cannot.startswith("BertForSequenceClassification is no causal language")
    assert refusal(client) == (422, cannot)


def test_a_model_that_reads_its_prompt_apart_says_so():
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    config = T5Config(vocab_size=VOCABULARY, decoder_start_token_id=0, **sizes)
    with serving(T5ForConditionalGeneration(config).eval(), word_tokenizer()) as client:
        assert "is no causal language model" in about(client)["answer"]["cannot"]
        assert refusal(client)[0] == 422


def test_without_a_template_there_is_no_chat():
    with serving(small_model(), word_tokenizer()) as client:
        assert about(client)["answer"]["chat"] is False
        status, told = refusal(client, answer=GIVEN, chat=True)
        assert status == 422
        assert "the tokenizer has no chat template" in told


@pytest.mark.parametrize(
    ("question", "status", "told"),
    [
        ({"passages": " \n\n "}, 422, "there is no passage"),
        ({"question": "\n"}, 422, "the question is blank"),
        ({"passages": "\ud800", "answer": "a"}, 422, "is no valid Unicode"),
        ({"answer": "\ud800"}, 422, "is no valid Unicode"),
        ({"passages": None}, 400, "'passages' is null; it must be a string"),
        ({"max_new_tokens": 0}, 400, "'max_new_tokens' must be a whole number from 1"),
        ({"max_new_tokens": 513}, 400, "number from 1 to 512"),
        ({"max_new_tokens": 10**400}, 400, "number from 1 to 512"),
        ({"max_new_tokens": 2.0}, 400, "is a number; it must be a whole number"),
        ({"hops": True}, 400, "'hops' is true or false; it must be a whole number"),
        ({"hops": 9}, 400, "'hops' must be a whole number from 0 to 8"),
        ({"calls": 1}, 400, "'calls' must be a whole number from 2 to 512"),
        ({"chat": 1}, 400, "'chat' is a number; it must be true or false"),
        ({"spans": "tokens"}, 400, "'spans' is 'tokens'; it must be one of 'sent"),
        ({"sources": "/etc"}, 400, "'sources' is '/etc'; it must be one of 'pass"),
        ({"wrt": "keys"}, 400, "'wrt' is 'keys'; it must be one of 'tokens'"),
        ({"method": "lime"}, 400, "'method' is 'lime'; it must be one of 'lrp'"),
        ({"method": "x" * 201}, 400, "'method' has 201 characters; at most"),
        ({"low_memory": True}, 400, "'low_memory' is no key; it must be one of"),
        ({"method": "ablation", "hops": 1, "answer": "a"}, 422, "hops=1 sends"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(asking, question, status, told):
    found = refusal(asking, **question)
    assert found[0] == status and told in found[1]


@pytest.mark.parametrize("name", ["passages", "question"])
def test_what_is_needed_is_named(asking, name):
    question = {key: value for key, value in ASKED.items() if key != name}
    status, answer = asking.ask("/answer", **question)
    assert status == 400
    assert answer["error"].startswith(f"there is no {name!r}. Send ")


def test_what_the_library_refuses_is_told_in_its_words():
    tokenizer = merging_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    with serving(language_model("Llama", torch.float32), tokenizer) as client:
        asked = {"passages": "do", "question": "u", "answer": "n", "chat": True}
        status, told = refusal(client, **asked)
        assert status == 422
        assert "('do\\n\\nun') as one token" in told


def test_too_many_tokens_are_counted_and_refused(asking):
    longest = "explains at most 64 tokens (words or parts of words) at once."
    status, told = refusal(asking, passages="one " * 65, answer="a")
    assert status == 413
    assert told == (
        f"passages, question and answer have 71 words; the explorer {longest} Take "
        "fewer or shorter ones."
    )
    status, told = refusal(asking, passages="x" * 3300, answer="a")
    assert status == 413 and "characters" in told
    room = 64 - len(PROMPT.split())
    assert asking.ask("/answer", **ASKED, max_new_tokens=room)[0] == 200
    status, told = refusal(asking, max_new_tokens=room + 1)
    assert status == 413
    assert f"answer (of up to {room + 1} tokens) have 65 words" in told


def test_tokens_of_the_template_count():
    tokenizer = chat_tokenizer()
    with serving(small_model(), tokenizer) as client:
        most = 64 - len(PROMPT.split())
        status, told = refusal(client, chat=True, max_new_tokens=most)
        assert status == 413
        assert "have 67 tokens; the explorer explains at most 64" in told


def test_long_contexts_have_an_end_of_their_own():
    model = language_model("Llama", torch.float32, max_position_embeddings=10**6)
    with serving(model, word_tokenizer()) as client:
        assert about(client)["answer"]["longest"] == 2048
        status, told = refusal(client, passages="one " * 2048, answer="a")
        assert status == 413 and "explains at most 2048 tokens" in told


class Countdown(Event):
    """An event that is set once it has been looked at so often."""

    def __init__(self, looks):
        super().__init__()
        self.looks = looks

    def is_set(self):
        self.looks -= 1
        return self.looks < 0


@contextmanager
def answering(**question):
    model = language_model()
    before = [dict(module._forward_hooks) for module in model.modules()]
    asked = PassagesQuestion(**ASKED, answer=GIVEN, **question)
    yield lambda event: Answering(model, word_tokenizer()).answer(asked, event)
    assert [dict(module._forward_hooks) for module in model.modules()] == before
    assert not model._forward_pre_hooks


def test_work_is_given_up_between_backward_passes():
    endless = Countdown(10**6)
    with answering(hops=1) as answer:
        whole = answer(endless)
        looks = 10**6 - endless.looks
        # One forward pass, and for each block of two one look in each of three
        # backward passes: two spans, and a hop of the second.
        assert looks == 1 + 3 * 2
        for stop in range(looks):
            with pytest.raises(AbandonedError):
                answer(Countdown(stop))
        assert answer(Countdown(looks)) == whole


def test_what_watches_changes_no_number():
    with answering(spans="all") as answer:
        saved = json.loads(answer(Event())["json"])
    found = explain_answer(
        *(language_model(), word_tokenizer(), PROMPT, f" {GIVEN}"),
        sources=PASSAGES,
        spans="all",
    )
    assert saved["scores"] == found.scores.tolist()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Content_Type": "text/plain"}, 415),
    ],
)
def test_strangers_get_nothing(asking, headers, status):
    sent = {"Content_Type": "application/json", **headers}
    assert asking.send("/answer", json.dumps(ASKED), **sent)[0] == status


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)


ALLOWED = (
    "div style p span input label section blockquote b table caption tr th td".split()
)


@settings(max_examples=15)
@given(hostile_text, hostile_text, hostile_text)
def test_no_text_breaks_out_or_breaks_the_server(asking, passages, question, answer):
    status, told = asking.ask(
        "/answer", passages=passages, question=question, answer=answer
    )
    assert status in {200, 413, 422}, told
    if status == 200:
        assert Tags(told["html"]).tags <= set(ALLOWED)
    else:
        assert list(told) == ["error"]


def test_hostile_passages_are_escaped(asking):
    shown = page(asking, passages="\n\n".join(HOSTILE[:2]), answer=GIVEN)
    assert "<script" not in shown


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
keys = st.sampled_from(["passages", "question", "answer", "hops", "calls", "chat", "a"])


@settings(max_examples=40)
@given(st.dictionaries(keys, values))
def test_no_question_breaks_the_server(asking, question):
    body = json.dumps({**ASKED, "answer": GIVEN, **question})
    status, _, told = asking.send("/answer", body, Content_Type="application/json")
    assert status in {200, 400, 413, 422}, told
    assert ("error" in json.loads(told)) == (status != 200)
