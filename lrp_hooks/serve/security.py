"""Who may ask: pages of this server alone, under its own name.

A browser sends requests to this server for any page of the web. A page elsewhere is
told by its ``Origin``; one whose name was made to resolve to this machine (DNS
rebinding) by the ``Host`` that it asks for.
"""

from __future__ import annotations

import ipaddress
import re
import socket

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import Rate
from .refusal import Refusal
from .responses import refused

__all__ = ["HEADERS", "Guard", "is_wildcard"]

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
"""The headers of every response."""

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """Checks every request before the app sees it, and adds headers to what it says."""

    def __init__(self, app: ASGIApp, host: str, rate: Rate) -> None:
        """Stand before an app.

        Args:
            app: The app.
            host: The name or address that it is bound to.
            rate: Counts requests.
        """
        self._app, self._rate = app, rate
        self._host = host.lower().strip("[]")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it.

        Args:
            scope: As ASGI has it.
            receive: As ASGI has it.
            send: As ASGI has it.
        """

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = self._app
        try:
            self._check(scope)
        except Refusal as refusal:
            answer = refused(refusal)
        await answer(scope, receive, send_with_headers)

    def _check(self, scope: Scope) -> None:
        """Refuse strangers, and those who ask too often.

        Raises:
            Refusal: If this is such a request.
        """
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        host = hosts[0].lower() if len(hosts) == 1 else ""
        if not self._is_own(_without_port(host)):
            raise Refusal(
                403,
                f"this server is not called {host[:100]!r}. Open it under the address "
                "that it printed when it started.",
            )
        if _is_foreign(headers, host):
            raise Refusal(403, "a page of another site asked; only this one's own may.")
        # Counted last, so that pages of others cannot use up what the own one has.
        client = scope.get("client") or ("unknown", 0)
        self._rate.check(client[0])

    def _is_own(self, name: str) -> bool:
        """Tell this server's names from others that lead to it."""
        if name in _LOOPBACK or name == self._host:
            return True
        # No name was resolved to reach a plain address, so none was bent.
        anywhere = is_wildcard(self._host)
        return anywhere and (_is_address(name) or name == socket.gethostname().lower())


def is_wildcard(host: str) -> bool:
    """Tell whether a host stands for every address of this machine.

    Args:
        host: A name or address.

    Returns:
        True for ``"0.0.0.0"``, ``"::"`` and the empty string.
    """
    return not host or (_is_address(host) and ipaddress.ip_address(host).is_unspecified)


def _is_foreign(headers: Headers, host: str) -> bool:
    """Tell whether a page of another site asks, other than by a link to this one."""
    origins = headers.getlist("origin")
    if origins:
        return origins not in ([f"http://{host}"], [f"https://{host}"])
    site = headers.get("sec-fetch-site", "same-origin")
    linked = headers.get("sec-fetch-mode") == "navigate"
    return site not in {"same-origin", "none"} and not linked


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _without_port(host: str) -> str:
    """Return the name in a ``Host`` header; "?", which is none, where it has none."""
    found = re.fullmatch(r"(?:\[([^]]+)\]|([^:]+))(?::[0-9]+)?", host)
    return "?" if found is None else found[1] or found[2]
