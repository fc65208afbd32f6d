"""The explorer: a local page on which one types a text and sees it explained."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from torch import nn

from ..errors import LrpHooksError
from ..render.document import document
from .answer import Answering
from .circuit import Tracing
from .classify import Classify
from .generate import Generating
from .limits import Rate, read_body
from .picture import Picturing
from .question import read_question
from .refusal import Refusal
from .responses import answered, refused
from .security import Guard
from .turns import LeftError, Turns
from .work import Answer, Asked, Kind

__all__ = ["Rate", "Turns", "app"]

Endpoint = Callable[[Request], Awaitable[Response]]

_log = logging.getLogger(__name__)
_PAGE = {
    "/": ("page.html", "text/html"),
    "/explorer.css": ("explorer.css", "text/css"),
    **{
        f"/{name}": (name, "text/javascript")
        for name in (
            *("explorer.js", "page.js", "classify.js"),
            *("answer.js", "generate.js", "circuit.js", "picture.js"),
        )
    },
}


def app(
    model: nn.Module,
    tokenizer: Any,
    host: str = "127.0.0.1",
    *,
    processor: Any = None,
    rate: Rate | None = None,
    turns: Turns | None = None,
) -> Starlette:
    """Build the explorer of one model.

    Args:
        model: A Hugging Face model in eval mode.
        tokenizer: Its tokenizer; None for a model of pictures.
        host: The name or address that the server is bound to. Defaults to loopback.
        processor: The image processor of a model of pictures. Defaults to ``None``:
            the model reads texts.
        rate: How often a client may ask. Defaults to 120 requests a minute.
        turns: Where computations wait for each other. Defaults to a line of 8.

    Returns:
        An ASGI app. It keeps nothing of what it is asked.
    """
    line = turns or Turns()
    kinds: list[Kind]
    if processor is None:
        texts = (Classify, Answering, Generating, Tracing)
        kinds = [kind(model, tokenizer) for kind in texts]
    else:
        kinds = [Picturing(model, processor)]
    asked = {path: each for kind in kinds for path, each in kind.asked().items()}
    return Starlette(
        routes=[
            *(Route(path, _file(*of)) for path, of in _PAGE.items()),
            Route("/about", _told(_about(model, kinds))),
            *(
                Route(path, _guarded(_answer(each, line)), methods=["POST"])
                for path, each in asked.items()
            ),
        ],
        middleware=[Middleware(Guard, host=host, rate=rate or Rate())],
        exception_handlers={HTTPException: _no_such_page},
    )


def _about(model: nn.Module, kinds: Sequence[Kind]) -> Answer:
    """Describe the model and what may be asked of it.

    Returns:
        Also the ``frame`` of a page to keep: what stands before and after its
        fragments.
    """
    about = {"model": type(model).__name__, "frame": document("\0").split("\0")}
    for kind in kinds:
        about |= kind.about()
    return about


def _file(name: str, kind: str) -> Endpoint:
    """Serve a file of this package."""
    content = files(__name__).joinpath(name).read_bytes()

    async def endpoint(request: Request) -> Response:
        return Response(content, media_type=kind)

    return endpoint


def _told(value: Answer) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return answered(value)

    return endpoint


def _answer(asked: Asked, turns: Turns) -> Endpoint:
    """Serve what is computed for a question."""

    async def endpoint(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        if kind.lower() != "application/json":
            raise Refusal(
                415,
                f"the Content-Type is {kind[:100]!r}; it must be application/json.",
            )
        question: Any = read_question(
            asked.question, await read_body(request, asked.largest)
        )
        work = partial(asked.work, question)
        return answered(await turns.run(work, _leaving(request)))

    return endpoint


def _leaving(request: Request) -> Callable[[], Awaitable[None]]:
    """Return what waits for the end of a connection."""

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    return left


def _guarded(endpoint: Endpoint) -> Endpoint:
    """Answer errors with a sentence; nothing else of them leaves the server."""

    async def safe(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (ClientDisconnect, LeftError):
            return Response(status_code=499)  # nobody reads it
        except LrpHooksError as error:
            return refused(error)
        except Exception:
            _log.exception("%s failed", request.url.path)
            failed = "the explorer failed; its terminal says why. Try another text."
            return answered({"error": failed}, 500)

    return safe


async def _no_such_page(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = answered({"error": f"{error.detail}."}, error.status_code)
    response.headers.update(error.headers or {})
    return response
