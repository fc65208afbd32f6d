"""One call of a model, as a user makes it, and what of its output is compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def forward(model: nn.Module, inputs: Any, grad: bool = False) -> Tensor:
    """Run the model with fixed random numbers, for those that draw any in eval mode."""
    torch.manual_seed(0)
    with torch.set_grad_enabled(grad):
        return logits_of(called(model, inputs))


def called(model: nn.Module, inputs: Any) -> Any:
    """Call a model with what it is given.

    Args:
        model: The model.
        inputs: Keyword arguments, or a tuple of positional ones, or the only one.

    Returns:
        Its output.
    """
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def logits_of(output: Any) -> Tensor:
    """Return the logits, or the first tensor."""
    if isinstance(output, Tensor):
        return output
    for name in ("logits", "prediction_logits", "cls_logits", "last_hidden_state"):
        value = getattr(output, name, None)
        if isinstance(value, Tensor):
            return value
    several = output.values() if isinstance(output, Mapping) else output
    return next(v for v in several if _is_output(v))


def _is_output(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 1


def projection(output: Any, examples: int | None = None) -> Tensor:
    """Project an output on a fixed vector, for models of which nothing is usual.

    Args:
        output: What a model returned.
        examples: How many there are, where each has several rows, as frames are.

    Returns:
        One number for each example, linear in the output.
    """
    values = logits_of(output)
    several = examples is not None and examples < len(values)
    if several and len(values) % (examples or 1) == 0:
        values = values.reshape(examples, -1)
    values = values.flatten(1)
    return values @ torch.cos(torch.arange(values.shape[1])).to(values)


def examples_of(inputs: Any) -> int:
    """Count the examples: the rows of the first tensor."""
    several = inputs.values() if isinstance(inputs, Mapping) else inputs
    tensors = [inputs] if isinstance(inputs, Tensor) else several
    return next((len(t) for t in tensors if isinstance(t, Tensor)), 1)


def first_of(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the first example of each tensor."""
    return {k: v[:1] if isinstance(v, Tensor) else v for k, v in inputs.items()}
