"""What a model's configuration says, wherever in it it stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

__all__ = ["setting"]


def setting(model: nn.Module, *names: str) -> Any:
    """Look a number up in a model's configuration, and in those inside it.

    Args:
        model: Any module.
        *names: What it may be called; the first one that is found counts.

    Returns:
        Its value; None where nothing says it.
    """
    config = getattr(model, "config", None)
    told = hasattr(config, "__dict__")
    for name in names:
        for part in _parts(config) if told else ():
            value = getattr(part, name, None)
            if value is not None:
                return value
    return None


def _parts(config: Any) -> Iterator[Any]:
    """List a configuration and, behind it, those in it: of towers, of an encoder."""
    level = [config]
    while level:
        yield from level
        held = [value for part in level for value in vars(part).values()]
        level = [value for value in held if hasattr(value, "model_type")]
