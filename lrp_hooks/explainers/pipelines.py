"""What brings a model with its tokenizer: pipelines, and sentence encoders."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..engine.wrappers import unwrapped
from ..errors import ArgumentError
from ..support.folders import how_to_load
from ..tasks.bi_encoders import sentence_encoder

__all__ = ["unpacked"]


def unpacked(model: Any, tokenizer: Any) -> tuple[nn.Module, Any]:
    """Take the model, and the tokenizer where none is given, out of what has both.

    Args:
        model: See `explain`.
        tokenizer: See `explain`.

    Returns:
        Both.

    Raises:
        ArgumentError: If there is no model.
    """
    inner = getattr(model, "model", None)
    if not isinstance(model, nn.Module) and isinstance(inner, nn.Module):
        if getattr(model, "task", None) == "zero-shot-classification":
            raise ArgumentError(
                "model is a pipeline for zero-shot classification, which asks its "
                "model about pairs of a text and a hypothesis; explain pipe.model on "
                "one of them: (text, 'This example is about ...')."
            )
        tokenizer = model.tokenizer if tokenizer is None else tokenizer
        model = inner
    model = unwrapped(model)
    if not isinstance(model, nn.Module):
        load = how_to_load(model)
        many = " explain_many() takes a folder as it is." if load else ""
        raise ArgumentError(
            f"model is a {type(model).__name__}; it must be a torch.nn.Module, or a "
            f"transformers.pipeline.{load}{many}"
        )
    if tokenizer is None and sentence_encoder(model) is not None:
        tokenizer = model.tokenizer
    return model, tokenizer
