"""How many rows a model takes at once."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import ArgumentError

__all__ = ["check_rows", "most_rows"]

_PADDED = "ForSequenceClassification"


def most_rows(model: nn.Module, wanted: int) -> int:
    """Limit how many rows are run together.

    Args:
        model: Any module.
        wanted: How many are wanted.

    Returns:
        That many; 1 for a classifier that looks for the last token of each row by its
        padding token, and whose configuration names none.
    """
    inside = (model, *model.children())  # which may stand in a wrapper
    return 1 if any(map(_needs_padding, inside)) else wanted


def check_rows(model: nn.Module, rows: int) -> None:
    """Refuse more rows than a model takes.

    Args:
        model: Any module.
        rows: How many came.

    Raises:
        ArgumentError: If they are too many.
    """
    if rows > 1 and rows > most_rows(model, rows):
        raise ArgumentError(
            f"the inputs have {rows} rows, but a {type(model).__name__} whose "
            "config.pad_token_id is None takes one at a time. Explain them one by one, "
            "or set model.config.pad_token_id to the id that pads them."
        )


def _needs_padding(module: nn.Module) -> bool:
    if not any(kind.__name__.endswith(_PADDED) for kind in type(module).__mro__):
        return False
    config: Any = getattr(module, "config", None)
    reads = config.get_text_config() if hasattr(config, "get_text_config") else config
    return hasattr(reads, "pad_token_id") and reads.pad_token_id is None
