"""Pages of other sites, and names bent to this machine, get nothing."""

import json
import logging
import socket

import pytest

from explorer_server import serving
from lrp_hooks.serve.classify import Classify
from lrp_hooks.serve.limits import Rate
from lrp_hooks.serve.security import Guard

QUESTION = json.dumps({"text": "good"})
KIND = {"Content_Type": "application/json"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
SCRIPTS = ("explorer", "page", "classify", "answer")
PATHS = ("/", "/explorer.css", "/about", *(f"/{name}.js" for name in SCRIPTS))


@pytest.mark.parametrize("path", [*PATHS, "/explain", "/nowhere", "/../setup.cfg"])
def test_every_response_has_the_headers(client, path):
    _, headers, _ = client.send(path)
    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert "Server" not in headers
    assert "Access-Control-Allow-Origin" not in headers


def test_refusals_have_the_headers_too(client):
    for headers in ({"Host": "evil.example"}, {"Content_Type": "text/plain"}):
        _, found, _ = client.send("/explain", QUESTION, **headers)
        assert {name: found[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:8000", "[::1]", "[::1]:8000"],
)
def test_own_names_are_served(client, host):
    assert client.send("/about", Host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example#localhost",
        "user@localhost",
        "[::1",
        "[::1]evil.example",
        "localhost:80:80",
        "localhost:evil.example",
        "localhost:",
        "localhost:80, evil.example",
        "[::2]",
        "192.168.0.1",
        "0.0.0.0",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/about", "/explain"])
def test_other_names_are_refused(client, host, path):
    body = QUESTION if path == "/explain" else None
    status, _, answer = client.send(path, body, Host=host, **KIND)
    assert status == 403
    assert "not called" in json.loads(answer)["error"]


def test_a_request_without_a_host_is_refused(client):
    received = client.raw(b"GET /about HTTP/1.0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 403"), received[:100]


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://evil.example",
        "http://localhost",  # another port
        "http://localhost:{other}",
        "http://127.0.0.1:{port}",  # another name than the one asked for
        "http://localhost:{port}.evil.example",
        "file://",
        "http://[",
        "",
    ],
)
def test_pages_of_others_are_refused(client, origin):
    origin = origin.format(port=client.port, other=client.port + 1)
    host = f"localhost:{client.port}"
    status, _, answer = client.send(
        "/explain", QUESTION, Host=host, Origin=origin, **KIND
    )
    assert status == 403
    assert "another site" in json.loads(answer)["error"]


def test_who_asks_is_said_once(client):
    own = f"localhost:{client.port}".encode()
    again = b"Host: evil.example"
    for more in (again, again.replace(b"evil.example", own), b"Origin: null"):
        head = b"GET /about HTTP/1.1\r\nHost: " + own + b"\r\nOrigin: http://" + own
        received = client.raw(head + b"\r\n" + more + b"\r\n\r\n")
        assert received[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 403"}, received[:100]


@pytest.mark.parametrize(
    ("site", "mode", "status"),
    [
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),  # typed into the address bar
        ("cross-site", "navigate", 200),  # a link
        ("cross-site", "no-cors", 403),
        ("same-site", "no-cors", 403),  # another port of this machine
        ("cross-site", "cors", 403),
        ("cross-site", None, 403),
    ],
)
def test_parts_of_other_pages_are_refused(client, site, mode, status):
    headers = {"Sec_Fetch_Site": site}
    if mode is not None:
        headers["Sec_Fetch_Mode"] = mode
    assert client.send("/explorer.js", **headers)[0] == status


def test_pages_of_others_do_not_use_up_what_the_own_one_has(sentiment):
    with serving(*sentiment, rate=Rate(1)) as client:
        for foreign in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
            assert client.send("/about", **foreign)[0] == 403
        assert client.send("/about")[0] == 200
        assert client.send("/about")[0] == 429


def test_the_own_page_is_served(client):
    for host in (f"localhost:{client.port}", f"127.0.0.1:{client.port}"):
        headers = {"Host": host, "Origin": f"http://{host}", **KIND}
        assert client.send("/explain", QUESTION, **headers)[0] == 200


@pytest.mark.parametrize(
    ("bound", "host", "allowed"),
    [
        ("box.lan", "box.lan:8000", True),
        ("box.lan", "BOX.lan", True),
        ("box.lan", "192.168.0.7", False),
        ("192.168.0.7", "192.168.0.7:80", True),
        ("192.168.0.7", "192.168.0.8", False),
        ("0.0.0.0", "192.168.0.7:80", True),
        ("::", "[fe80::1]:80", True),
        ("", "10.0.0.1", True),
        ("0.0.0.0", "machine", True),
        ("127.0.0.1", "machine", False),
        ("0.0.0.0", "evil.example", False),
        ("::", "10.0.0.1.evil.example", False),
    ],
)
def test_the_bound_name_is_its_own(monkeypatch, bound, host, allowed):
    monkeypatch.setattr(socket, "gethostname", lambda: "Machine")
    guard = Guard(None, bound, Rate())
    headers = [(b"host", host.lower().encode())]
    scope = {"type": "http", "headers": headers, "client": ("10.0.0.9", 1)}
    if allowed:
        guard._check(scope)
    else:
        with pytest.raises(Exception, match="not called"):
            guard._check(scope)


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "text/plain; application/json",
        "application/jsonx",
        "",
    ],
)
def test_what_a_form_of_another_site_can_send_is_refused(client, kind):
    headers = {} if kind is None else {"Content_Type": kind}
    status, _, answer = client.send("/explain", QUESTION, **headers)
    assert status == 415
    assert "must be application/json" in json.loads(answer)["error"]


def test_json_may_name_its_charset(client):
    kind = "Application/JSON; charset=utf-8"
    assert client.send("/explain", QUESTION, Content_Type=kind)[0] == 200


@pytest.mark.parametrize("path", ["/explain", "/compare", "/layers"])
def test_questions_are_posted(client, path):
    status, headers, answer = client.send(path)
    assert (status, headers["Allow"]) == (405, "POST")
    assert json.loads(answer) == {"error": "Method Not Allowed."}


@pytest.mark.parametrize(
    "path",
    ["/nowhere", "/../pyproject.toml", "/%2e%2e/answer.py", "/answer.py", "//"],
)
def test_nothing_else_is_served(client, path):
    assert client.send(path)[0] == 404


def test_an_unexpected_error_stays_at_home(sentiment, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("a secret of /home/me")

    monkeypatch.setattr(Classify, "explain", fail)
    with serving(*sentiment) as client, caplog.at_level(logging.ERROR):
        status, answer = client.ask("/explain", text="good")
        assert status == 500
        assert answer == {
            "error": "the explorer failed; its terminal says why. Try another text."
        }
        assert "a secret" in caplog.text and "Traceback" in caplog.text
        assert client.ask("/layers", text="good")[0] == 200
