"""Responses: JSON, and what goes wrong as a sentence in JSON."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from ..errors import LrpHooksError
from .refusal import Refusal

__all__ = ["answered", "refused"]

CUT_OFF = {408, 413}  # the rest of such a request is not read


def answered(value: Any, status: int = 200) -> Response:
    """Write JSON.

    Args:
        value: Anything that JSON has; lone surrogates are escaped.
        status: The HTTP status.

    Returns:
        The response.
    """
    return Response(json.dumps(value), status, media_type="application/json")


def refused(error: LrpHooksError) -> Response:
    """Write what went wrong.

    Args:
        error: A refusal, or any error of the library, which is about the request.

    Returns:
        The response.
    """
    status = error.status if isinstance(error, Refusal) else 422
    response = answered({"error": str(error)}, status)
    if isinstance(error, Refusal) and error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if status in CUT_OFF:
        response.headers["Connection"] = "close"
    return response
