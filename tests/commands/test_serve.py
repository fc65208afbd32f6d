"""``lrp-hooks serve`` from its first line to its last."""

import http.client
import json
import os
import select
import signal
import socket
import sys
import time
from argparse import Namespace
from contextlib import closing

import pytest
import torch

from generation_models import language_model, word_tokenizer
from lrp_hooks.commands import serve as serve_command
from lrp_hooks.errors import ArgumentError
from processes import command

SECONDS = 60


# A computation that nothing ends.
STUCK = """
import time
from lrp_hooks.serve.classify import Classify
Classify.compare = lambda *_: time.sleep(10**6)
"""


class Serving:
    """The command in a process of its own, up to the line with its address."""

    def __init__(self, forks, errors, program):
        self.forks, self.errors = forks, errors
        reader, writer = os.pipe()
        with open(writer, "wb") as out, open(errors, "wb") as err:
            self.process = forks.start(program, out, err)
        self.out = open(reader, encoding="utf-8")
        ready, *_ = select.select([self.out], [], [], SECONDS)
        self.url = self.out.readline().strip() if ready else ""
        assert self.url, f"no address, but {errors.read_text()!r}"

    def send(self, sent):
        os.kill(self.process, sent)

    def wait(self):
        """Return the exit code, and what it said since, on both streams."""
        return self.forks.wait(), self.out.read(), self.errors.read_text()


@pytest.fixture
def serve(forks, tmp_path):
    """Start the command once."""
    started = []

    def serve(*arguments, before=""):
        program = f"{before}\n{command('serve', '--port', '0', *arguments)}"
        started.append(Serving(forks, tmp_path / "errors", program))
        return started[-1]

    yield serve
    for running in started:
        running.out.close()


def ask(url, path, seconds=SECONDS, **question):
    host, port = url.removeprefix("http://").strip("/").rsplit(":", 1)
    with closing(http.client.HTTPConnection(host, int(port), timeout=seconds)) as line:
        kind = {"Content-Type": "application/json"}
        line.request("POST", path, json.dumps(question), kind)
        response = line.getresponse()
        return response.status, json.loads(response.read())


def test_it_serves_until_ctrl_c(serve):
    running = serve()
    url = running.url
    assert url.startswith("http://127.0.0.1:")
    status, answer = ask(url, "/explain", text="a gripping film")
    assert status == 200 and "positive" in answer["prediction"]
    # A page left open must not hold the server up.
    with socket.create_connection(("127.0.0.1", int(url.split(":")[2][:-1]))):
        start = time.monotonic()
        running.send(signal.SIGINT)
        assert running.wait() == (0, "", "")
    assert time.monotonic() - start < SECONDS / 4


def test_a_causal_language_model_answers(serve, tmp_path):
    language_model(dtype=torch.float32).save_pretrained(tmp_path / "model")
    word_tokenizer().save_pretrained(tmp_path / "model")
    running = serve("--model", tmp_path / "model")
    asked = {"passages": "Paris is a .", "question": "London is", "max_new_tokens": 3}
    status, answer = ask(running.url, "/answer", **asked)
    assert status == 200, answer
    assert json.loads(answer["json"])["meta"]["model"] == "LlamaForCausalLM"
    running.send(signal.SIGINT)
    assert running.wait() == (0, "", "")


def test_it_warns_of_others_and_ends_whatever_it_is_doing(serve):
    running = serve("--host", "0.0.0.0", before=STUCK)
    assert running.url.startswith("http://0.0.0.0:")
    assert ask(running.url, "/explain", text="good")[0] == 200
    with pytest.raises(TimeoutError):
        ask(running.url, "/compare", 0.5, text="good")
    running.send(signal.SIGTERM)
    code, _, err = running.wait()
    assert code == 0
    assert err.startswith("lrp-hooks: everyone who reaches 0.0.0.0 can use this page")
    assert len(err.splitlines()) == 1


def failing(run, *arguments):
    """Return the one line that a command says before it loads a model."""
    code, out, err = run("serve", *arguments, "--model", "no folder is looked for")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    return err


def test_a_port_in_use_is_named(run):
    with closing(serve_command.listen("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--port {port} is in use on 127.0.0.1; take another" in failing(
            run, "--port", port
        )


@pytest.mark.parametrize("port", [-1, 65536, 10**9])
def test_what_is_no_port_is_refused(run, port):
    assert f"{str(port)!r} is no port" in failing(run, "--port", port)


@pytest.mark.parametrize(
    "host", ["no such host", "256.1.1.1", "a" * 70, "a..b", "é" * 70]
)
def test_what_is_no_host_is_refused(run, host):
    assert "is no name or address" in failing(run, "--host", host, "--port", 0)


def test_an_address_of_another_machine_is_refused(run):
    told = failing(run, "--host", "192.0.2.1", "--port", 0)
    assert "--host '192.0.2.1' is no address of this machine" in told


def test_a_privileged_port_is_named(monkeypatch, run):
    def refuse(self, address):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    assert "--port 80 is for the administrator alone" in failing(run, "--port", 80)


def test_ipv6_has_brackets():
    try:
        bound = serve_command.listen("::1", 0)
    except ArgumentError:
        pytest.skip("no IPv6 here")
    with closing(bound):
        port = bound.getsockname()[1]
        assert serve_command.url(bound) == f"http://[::1]:{port}/"


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_missing_libraries_are_named(monkeypatch, missing):
    for name in [name for name in sys.modules if name.startswith("lrp_hooks.serve.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "lrp_hooks.serve", raising=False)
    for name in [name for name in sys.modules if name.startswith(f"{missing}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    arguments = Namespace(host="127.0.0.1", port=0, model=None)
    with pytest.raises(ArgumentError, match=r'pip install "lrp_hooks\[serve\]"'):
        serve_command.run(arguments, sys.stderr)


def test_so_many_connections_are_served_at_once():
    assert serve_command.server(None).config.limit_concurrency == 100


def test_a_bad_model_leaves_the_port_free(run, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with closing(serve_command.listen("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    code, _, err = run("serve", "--port", port, "--model", tmp_path)
    assert code == 2 and "holds no model" in err
    serve_command.listen("127.0.0.1", port).close()
    assert signal.getsignal(signal.SIGTERM) == before
