"""The explorer behind a real socket, and a client that sends what it is told to."""

import http.client
import json
import threading
from contextlib import closing, contextmanager

from lrp_hooks.commands.serve import listen, server
from lrp_hooks.serve import app
from lrp_hooks.serve.limits import Rate

SECONDS = 30


class Client:
    """Sends requests to one port of this machine."""

    def __init__(self, port):
        self.port = port
        self.url = f"http://127.0.0.1:{port}/"

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)

    def send(self, path, body=None, method=None, **headers):
        """Return status, headers and body."""
        with closing(self.connect()) as connection:
            connection.request(
                method or ("GET" if body is None else "POST"),
                path,
                body,
                {name.replace("_", "-"): text for name, text in headers.items()},
            )
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def ask(self, path, **question):
        """Return status and answer."""
        body = json.dumps(question)
        status, _, answer = self.send(path, body, Content_Type="application/json")
        return status, json.loads(answer)

    def raw(self, data):
        """Send bytes, whatever they are; return all that comes back."""
        with closing(self.connect()) as connection:
            connection.connect()
            connection.sock.sendall(data)
            received = b""
            while more := connection.sock.recv(65536):
                received += more
            return received


@contextmanager
def serving(model, tokenizer, host="127.0.0.1", **limits):
    """Serve a model as the command does, from another thread."""
    limits.setdefault("rate", Rate(10**6))
    running = server(app(model, tokenizer, host, **limits))
    with closing(listen("127.0.0.1", 0)) as bound:
        client = Client(bound.getsockname()[1])
        thread = threading.Thread(target=running.run, args=([bound],), daemon=True)
        thread.start()
        try:
            yield client
        finally:
            running.should_exit = True
            thread.join(SECONDS)
            assert not thread.is_alive()
