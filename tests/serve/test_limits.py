"""Nobody gets more of the explorer than there is for each."""

import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from explorer_server import SECONDS, serving
from lrp_hooks.serve.limits import LARGEST_BODY, Rate
from lrp_hooks.serve.refusal import Refusal
from lrp_hooks.serve.turns import Turns

HEAD = (
    b"POST /explain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
)


def body_of(size):
    empty = len(json.dumps({"text": ""}))
    return json.dumps({"text": "x" * (size - empty)}).encode()


@pytest.mark.parametrize("excess", [1, LARGEST_BODY, 3 * LARGEST_BODY])
def test_a_large_body_is_refused(client, excess):
    body = body_of(LARGEST_BODY + excess)
    status, _, answer = client.send("/explain", body, Content_Type="application/json")
    assert status == 413
    assert json.loads(answer)["error"].startswith("the request is larger than 256 kB")


def test_a_body_of_the_largest_size_is_read(client):
    _, answer = client.ask("/explain", text="x" * (LARGEST_BODY - 100))
    assert "characters" in answer["error"]


def test_a_large_body_without_a_length_is_refused(client):
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    received = client.raw(head + chunk * 5 + b"0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 413"), received[:100]


def test_more_than_the_length_says_is_not_read(client):
    body = b'{"text": "good"}'
    length = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
    received = client.raw(HEAD + length + body + b"x" * 1000)
    assert received.startswith(b"HTTP/1.1 200"), received[:100]
    assert received.count(b"HTTP/1.1") == 1


def test_a_body_that_never_ends_is_cut_off(client):
    """The client goes on sending; the server must not go on reading."""
    with socket.create_connection(("127.0.0.1", client.port), SECONDS) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk, sent = b"40000\r\n" + b"x" * 0x40000 + b"\r\n", 0
        with pytest.raises(OSError):
            while sent < 400:
                connection.sendall(chunk)
                sent += 1
        assert sent < 200


def test_a_body_that_does_not_come_is_given_up(sentiment, monkeypatch):
    monkeypatch.setattr("lrp_hooks.serve.limits.SECONDS_TO_SEND", 0.2)
    with serving(*sentiment) as client:
        start = time.monotonic()
        received = client.raw(
            HEAD + b"Content-Length: 10\r\nConnection: close\r\n\r\n{"
        )
        assert received.startswith(b"HTTP/1.1 408"), received[:100]
        assert time.monotonic() - start < SECONDS / 2


@pytest.mark.parametrize("path", ["/explain", "/compare", "/layers"])
def test_ten_thousand_words_are_refused_in_one_sentence(client, path):
    status, answer = client.ask(path, text="word " * 10_000)
    assert status == 413
    assert answer == {
        "error": "the text has 10,000 words; lrp explains at most 128 tokens (words "
        "or parts of words) at once. Shorten it, or explain it piece by piece."
    }


def test_a_method_that_cannot_be_stopped_takes_short_texts(client):
    status, answer = client.ask("/explain", text="so " * 47, method="attention_flow")
    assert status == 413
    assert "49 tokens; attention_flow explains at most 48" in answer["error"]
    assert client.ask("/explain", text="so good", method="attention_flow")[0] == 200


def test_few_words_of_too_many_tokens_are_refused_with_their_number(client):
    status, answer = client.ask("/explain", text="unfilmablefilmable " * 100)
    assert status == 422
    assert "tokens, but the model has 128 positions" in answer["error"]


def test_too_many_characters_are_refused(client):
    status, answer = client.ask("/explain", text="x" * 6401)
    assert status == 413
    assert answer["error"].startswith("the text has 6,401 characters;")


def test_a_client_that_asks_too_often_has_to_wait(sentiment):
    now = [0.0]
    with serving(*sentiment, rate=Rate(3, clock=lambda: now[0])) as client:
        now[0] = 18.5
        assert [client.send("/about")[0] for _ in range(3)] == [200] * 3
        status, headers, answer = client.send("/about")
        assert status == 429
        assert headers["Retry-After"] == "42"
        assert json.loads(answer)["error"] == (
            "more than 3 requests came from this address within 60 seconds. Wait 42 "
            "seconds."
        )
        forged = client.send("/about", X_Forwarded_For="10.1.2.3")
        assert forged[0] == 429
        now[0] = 60.0
        assert client.send("/about")[0] == 200


def test_clients_are_counted_apart_and_120_a_minute_are_served():
    rate = Rate(clock=lambda: 5.0)
    for _ in range(120):
        rate.check("10.0.0.1")
    rate.check("10.0.0.2")
    with pytest.raises(Exception, match="more than 120 requests") as refused:
        rate.check("10.0.0.1")
    assert refused.value.status == 429


def test_a_pause_earns_no_more_than_one_minute_has():
    now = [0.0]
    rate = Rate(3, clock=lambda: now[0])
    now[0] = 600.0
    for _ in range(3):
        rate.check("10.0.0.1")
    with pytest.raises(Refusal, match="more than 3 requests") as refused:
        rate.check("10.0.0.1")
    assert refused.value.status == 429


@contextmanager
def held(model):
    """Hold every call of a model until the gate is opened; count the calls."""
    gate, begun, calls = threading.Event(), threading.Semaphore(0), []

    def wait(module, args):
        calls.append(module)
        begun.release()
        assert gate.wait(SECONDS)

    handle = model.register_forward_pre_hook(wait)
    try:
        yield gate, begun, calls
    finally:
        gate.set()
        handle.remove()


def begin(client, path="/explain", text="good"):
    """Send a question without waiting for its answer."""
    connection = client.connect()
    body, head = json.dumps({"text": text}), {"Content-Type": "application/json"}
    connection.request("POST", path, body, head)
    return connection


def until(condition):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_one_too_many_in_the_line_is_sent_away(sentiment):
    turns = Turns(waiting=2)
    with (
        serving(*sentiment, turns=turns) as client,
        held(sentiment[0]) as (gate, begun, calls),
    ):
        inside = [begin(client) for _ in range(3)]
        assert begun.acquire(timeout=SECONDS)
        until(lambda: turns._inside == 3)
        status, headers, answer = client.send(
            "/explain", b'{"text": "bad"}', Content_Type="application/json"
        )
        assert (status, headers["Retry-After"]) == (503, "5")
        assert json.loads(answer)["error"].startswith("2 others are waiting already.")
        assert len(calls) == 1  # of the three inside, one is computing
        assert client.send("/about")[0] == 200  # and the page itself stays quick
        gate.set()
        assert [each.getresponse().status for each in inside] == [200] * 3
        assert client.ask("/explain", text="bad")[0] == 200
    for connection in inside:
        connection.close()


def test_nothing_is_computed_for_those_who_left(sentiment):
    turns = Turns()
    with (
        serving(*sentiment, turns=turns) as client,
        held(sentiment[0]) as (gate, begun, calls),
    ):
        running = begin(client, "/compare")  # eight methods, a call or more each
        assert begun.acquire(timeout=SECONDS)
        waiting = begin(client, "/compare")
        until(lambda: turns._inside == 2)
        waiting.close()
        until(lambda: turns._inside == 1)
        running.close()
        until(lambda: turns._inside == 0)
        gate.set()
        before = len(calls)
        assert client.ask("/explain", text="good")[0] == 200
        assert before == 1
        assert len(calls) == before + 2  # a prediction and an explanation


def test_the_end_waits_for_what_has_begun():
    turns, gate = Turns(), threading.Event()
    turns._worker.submit(gate.wait, SECONDS)
    assert not turns.ended(0.05)
    gate.set()
    assert turns.ended(SECONDS)
