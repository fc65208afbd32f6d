"""The embedded sentiment model, which the command line explains by default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from ..loading import load_folder

__all__ = ["sentiment_model"]


def sentiment_model() -> tuple[nn.Module, Any]:
    """Load the model that comes with the library.

    Returns:
        A BERT classifier of sentences, ``"negative"`` (0) or ``"positive"`` (1), in
        float32 and eval mode, and its tokenizer.
    """
    return load_folder(Path(__file__).parent)
