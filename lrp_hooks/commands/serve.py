"""``lrp-hooks serve``: the explorer, a page on this machine."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import signal
import socket
from argparse import Namespace
from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from ..errors import ArgumentError
from ..support.extras import require
from ..texts.loading import load_model, load_processor, reads_pictures
from .chosen import chosen_model
from .waiting import waiting

if TYPE_CHECKING:
    import uvicorn

__all__ = ["listen", "run", "server", "url"]

CONNECTIONS = 100
SECONDS_TO_END = 3


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Serve the explorer until Ctrl-C.

    Args:
        arguments: What the command line says.
        stderr: Where a warning goes, and what goes wrong while serving.
    """
    for package in ("starlette", "uvicorn"):
        require(package, "serve", "serve")
    from ..serve import Turns, app

    turns = Turns()
    with (
        closing(listen(arguments.host, arguments.port)) as bound,
        _ended(),
        _log(stderr),
    ):
        host = bound.getsockname()[0]
        if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            print(
                f"lrp-hooks: everyone who reaches {host} can use this page; without "
                "--host it is for this machine alone.",
                file=stderr,
                flush=True,
            )
        model, tokenizer, processor = _loaded(arguments.model, stderr)
        explorer = app(
            model, tokenizer, arguments.host, processor=processor, turns=turns
        )
        print(url(bound), flush=True)
        server(explorer).run(sockets=[bound])
    if not turns.ended(SECONDS_TO_END):
        os._exit(0)  # no thread can be stopped, and this one would hold the process up


def _loaded(folder: str | None, stderr: TextIO) -> tuple[Any, Any, Any]:
    """Load a model, its tokenizer, and the image processor of one that sees."""
    if folder is None or not reads_pictures(folder):
        return (*chosen_model(folder, stderr), None)
    with waiting(stderr, "loading the model"):
        return load_model(folder), None, load_processor(folder)


def server(explorer: Any) -> uvicorn.Server:
    """Make the server of an explorer.

    Args:
        explorer: What `lrp_hooks.serve.app` returned.

    Returns:
        The server; its ``run(sockets=[...])`` serves.
    """
    import uvicorn

    from ..serve.connections import Connection

    config = uvicorn.Config(
        explorer,
        http=Connection,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,  # else a client could take on any address
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=SECONDS_TO_END,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """Listen at an address, before a model is loaded for nothing.

    Args:
        host: A name or address of this machine.
        port: The port; 0 for any that is free.

    Returns:
        The socket.

    Raises:
        ArgumentError: If that cannot be.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"--host {host!r} is no name or address: {error}. Take 127.0.0.1."
        ) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(CONNECTIONS)
    except OSError as error:
        bound.close()
        raise ArgumentError(_reason(host, port, error)) from error
    return bound


def url(bound: socket.socket) -> str:
    """Write the address of a socket.

    Args:
        bound: What `listen` returned.

    Returns:
        What a browser is to open.
    """
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _reason(host: str, port: int, error: OSError) -> str:
    """Say why nothing can listen at an address, and what to do."""
    free = "take another --port, or 0 for any that is free"
    reasons = {
        errno.EADDRINUSE: f"--port {port} is in use on {host}; {free}.",
        errno.EACCES: f"--port {port} is for the administrator alone; {free}.",
        errno.EADDRNOTAVAIL: f"--host {host!r} is no address of this machine; take "
        "127.0.0.1, or 0.0.0.0 for all of its addresses.",
    }
    otherwise = f"nothing can listen on --host {host!r}, --port {port}: {error}."
    return reasons.get(error.errno or 0, otherwise)


@contextmanager
def _ended() -> Generator[None]:
    """Let Ctrl-C and a request to terminate end the command, as what ends it."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _log(stderr: TextIO) -> Generator[None]:
    """Write what goes wrong while serving to standard error."""
    handler, log = logging.StreamHandler(stderr), logging.getLogger("lrp_hooks.serve")
    disabled = logging.root.manager.disable
    log.addHandler(handler)
    logging.disable(logging.NOTSET)
    try:
        yield
    finally:
        logging.disable(disabled)
        log.removeHandler(handler)
