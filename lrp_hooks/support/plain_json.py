"""Records as JSON that every program reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["to_json"]


def to_json(record: object) -> bytes:
    """Write a record as JSON.

    Args:
        record: Mappings, lists, strings and numbers.

    Returns:
        Lines of ASCII; a number that JSON has no word for, NaN or an infinity, is null.
    """
    return json.dumps(_plain(record), indent=2, allow_nan=False).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
