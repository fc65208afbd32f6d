"""What a model says, before any explanation of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UnsupportedModelError
from ..support.text import one_line
from .encoding import writes_text

__all__ = ["Prediction", "predict", "run"]


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


def run(model: nn.Module, batch: Any) -> Any:
    """Run a model as it is, without a graph.

    Args:
        model: Any module.
        batch: What `encode` made of texts for it.

    Returns:
        Its output.

    Raises:
        UnsupportedModelError: If the model itself refuses these inputs.
    """
    try:
        with torch.no_grad():
            return model(**batch) if isinstance(batch, Mapping) else model(batch)
    except Exception as error:  # models check their inputs in every way, or not at all
        reason = one_line(f"{type(error).__name__}: {error}", 200)
        raise UnsupportedModelError(
            f"the model, a {type(model).__name__}, cannot be run on this input alone "
            f"({reason}). If it takes something else, pass that as tensors in Python: "
            "instrument(model).attribute(inputs)."
        ) from error


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
        that chooses among nothing for the whole text: it has no logits, just one, or
        some for each token.
    """
    given = [getattr(run(model, batch), "logits", None) for batch in batches]
    writes = writes_text(model)
    known = [logits for logits in given if logits is not None]
    if len(known) < len(given) or known[0].shape[-1] == 1:
        return None
    if known[0].ndim > 2 and not writes:
        return None
    # Of [1, T, V] the last position counts; of [1, C] there is just one.
    rows = [logits.reshape(-1, logits.shape[-1])[-1].double() for logits in known]
    row = torch.stack(rows).mean(0)
    config: Any = getattr(model, "config", None)
    many = getattr(config, "problem_type", None) == "multi_label_classification"
    chances = row.sigmoid() if many else row.softmax(-1)
    best = int(chances.argmax())
    if writes:
        label = tokenizer.convert_ids_to_tokens(best)
    else:
        label = (getattr(config, "id2label", None) or {}).get(best, best)
    return Prediction(str(label), float(chances[best]))
