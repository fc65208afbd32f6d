"""The embedded sentiment model, which the command line explains by default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import transformers
from torch import nn

from ..texts.loading import load_tokenizer

__all__ = ["sentiment_model"]

_FOLDER = Path(__file__).parent


def sentiment_model() -> tuple[nn.Module, Any]:
    """Load the model that comes with the library.

    Returns:
        A BERT classifier of sentences, ``"negative"`` (0) or ``"positive"`` (1), in
        float32 and eval mode, and its tokenizer.
    """
    config = transformers.BertConfig.from_pretrained(str(_FOLDER))
    # Not from_pretrained, which shows a bar each time.
    model = transformers.BertForSequenceClassification(config)
    model.load_state_dict(safetensors.torch.load_file(_FOLDER / "model.safetensors"))
    return model.eval(), load_tokenizer(_FOLDER)
