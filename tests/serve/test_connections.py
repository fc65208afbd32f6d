"""Connections that say nothing shut nobody out."""

import socket
import time
from contextlib import ExitStack, closing

from explorer_server import SECONDS, serving
from lrp_hooks.serve import connections
from lrp_hooks.serve.classify import Classify


def silent(client, stack, n):
    """Open connections that say nothing, or begin a request and stop."""
    lines = []
    for i in range(n):
        line = stack.enter_context(
            socket.create_connection(("127.0.0.1", client.port), SECONDS)
        )
        line.sendall((b"", b"GET /about HTT", b"GET / HTTP/1.1\r\nHost: local")[i % 3])
        lines.append(line)
    return lines


def ended(line):
    """Wait for the other end to close."""
    try:
        return line.recv(1) == b""
    except ConnectionResetError:
        return True


def test_it_answers_while_500_connections_say_nothing(client):
    with ExitStack() as stack:
        silent(client, stack, 500)
        begun = time.monotonic()
        for _ in range(3):
            assert client.send("/about")[0] == 200
        assert client.ask("/explain", text="good")[0] == 200
        assert time.monotonic() - begun < connections.SECONDS_TO_ASK


def test_connections_that_say_nothing_are_closed(monkeypatch, client):
    assert connections.SECONDS_TO_ASK == 10
    monkeypatch.setattr(connections, "SECONDS_TO_ASK", 0.5)
    with ExitStack() as stack:
        begun = time.monotonic()
        assert all(map(ended, silent(client, stack, 6)))
        again = stack.enter_context(closing(client.connect()))
        again.request("GET", "/about")
        assert again.getresponse().read()
        again.sock.sendall(b"GET /about HTT")  # a second request that stops midway
        assert ended(again.sock)
        assert time.monotonic() - begun > 0.5


def test_what_is_asked_in_time_is_answered_however_long_it_takes(
    monkeypatch, sentiment
):
    monkeypatch.setattr(connections, "SECONDS_TO_ASK", 0.2)

    def slow(self, *_):
        time.sleep(0.6)
        return {}

    monkeypatch.setattr(Classify, "explain", slow)
    with serving(*sentiment) as client, closing(client.connect()) as line:
        for _ in range(2):
            kind = {"Content-Type": "application/json"}
            line.request("POST", "/explain", '{"text": "good"}', kind)
            assert line.getresponse().read() == b"{}"
