"""What a model says, before any explanation of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .encoding import is_language_model

__all__ = ["Prediction", "predict"]


@dataclass(frozen=True)
class Prediction:
    """The arg-max class, or token, of one example.

    Args:
        label: Its name, or its number where it has none.
        probability: After softmax, or after sigmoid where labels exclude no other.
    """

    label: str
    probability: float

    def __str__(self) -> str:
        """Return both in a few words."""
        return f"{self.label} (probability {self.probability:.4f})"


def predict(
    model: nn.Module, tokenizer: Any, *batches: Mapping[str, Tensor]
) -> Prediction | None:
    """Run the model on one example, or on the windows of one.

    Args:
        model: A Hugging Face model in eval mode.
        tokenizer: Names the tokens of a language model.
        *batches: What the model takes, with one example; of several, windows of a text,
            the mean of the logits counts.

    Returns:
        The prediction; a language model's is the next token. ``None`` for a model
        that chooses among nothing: it has no logits, or just one.
    """
    with torch.no_grad():
        given = [getattr(model(**batch), "logits", None) for batch in batches]
    found = [each for each in given if each is not None and each.shape[-1] > 1]
    if len(found) < len(given):
        return None
    # Of [1, T, V] the last position counts; of [1, C] there is just one.
    rows = [each.reshape(-1, each.shape[-1])[-1].double() for each in found]
    logits = torch.stack(rows).mean(0)
    config: Any = getattr(model, "config", None)
    many = getattr(config, "problem_type", None) == "multi_label_classification"
    chances = logits.sigmoid() if many else logits.softmax(-1)
    best = int(chances.argmax())
    if is_language_model(model):
        label = tokenizer.convert_ids_to_tokens(best)
    else:
        label = (getattr(config, "id2label", None) or {}).get(best, best)
    return Prediction(str(label), float(chances[best]))
