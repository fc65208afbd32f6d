"""The names of what a model's outputs are numbered by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from .encoding import is_language_model

__all__ = ["target_names"]


def target_names(
    model: nn.Module, tokenizer: Any, ids: Iterable[int]
) -> dict[int, str]:
    """Name targets: tokens of a language model, else the model's labels.

    Args:
        model: The model.
        tokenizer: Its tokenizer, or None.
        ids: The token ids to name.

    Returns:
        The name of each token, or of every label; nothing where none is known.
    """
    if not is_language_model(model):
        labels = getattr(getattr(model, "config", None), "id2label", None) or {}
        return {int(i): str(name) for i, name in labels.items()}
    if tokenizer is None:
        return {}
    return {i: str(tokenizer.convert_ids_to_tokens(i)) for i in ids}
