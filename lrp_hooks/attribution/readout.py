"""The explained scalar: from a model's output and a target to [B]."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.nested import first_tensor
from ..errors import LrpHooksWarning, TargetError
from .classes import classes_of
from .usual import usual

__all__ = [
    "Contrast",
    "Selected",
    "class_logits",
    "find_logits",
    "select",
]

_LOGITS = (
    "logits",
    "prediction_logits",
    "cls_logits",
    "sentence_embedding",
    "last_hidden_state",
)


@dataclass(frozen=True)
class Contrast:
    """The difference of two logits as a target: why ``a`` rather than ``b``.

    Attributes:
        a: A class, token or label, or one for each example.
        b: What it is compared with.
    """

    a: Any
    b: Any


@dataclass(frozen=True)
class Selected:
    """What is explained: the scalars [B], with their graph, and what they are.

    The target is the classes or tokens, [B]; a `Contrast` of such; or the function.
    """

    scalar: Tensor
    target: Any


def find_logits(output: Any) -> Tensor:
    """Find the logits in a model's output.

    Args:
        output: A tensor, or an object or mapping with ``logits``,
            ``prediction_logits``, ``cls_logits``, ``sentence_embedding`` or
            ``last_hidden_state``, else with any tensor, of which the first counts.

    Returns:
        The logits.

    Raises:
        TargetError: If there is no tensor.
    """
    if isinstance(output, Tensor):
        return output
    for name in _LOGITS:
        if isinstance(output, Mapping):
            value = output.get(name)
        else:
            value = getattr(output, name, None)
        if isinstance(value, Tensor):
            return value
    found = first_tensor(output, lambda t: t.ndim > 0 and t.is_floating_point())
    found = first_tensor(output) if found is None else found
    if found is None:
        raise TargetError(
            f"the model returned a {type(output).__name__} without a tensor; pass "
            "target=a function from that output to a tensor [B]."
        )
    return found


def select(
    output: Any,
    target: Any,
    model: nn.Module,
    batch: int,
    mask: Tensor | None,
    batch_dim: int = 0,
) -> Selected:
    """Select the explained scalar of each example.

    Args:
        output: What the model returned.
        target: See `Instrumentation.attribute`.
        model: The model, for its label names.
        batch: B.
        mask: The attention mask of the tokens that the logits belong to, [B, T].
        batch_dim: Which axis of a sequence of logits counts the examples.

    Returns:
        The scalars and what they are.
    """
    if target is None:
        target = usual(output, model, batch)
    if callable(target) and not isinstance(target, Contrast):
        return Selected(_called(target, output, batch), target)
    _tell_of_others(output, batch)
    logits = class_logits(output, batch, mask, batch_dim)
    if isinstance(target, Contrast):
        first = classes_of(target.a, logits, model)
        second = classes_of(target.b, logits, model)
        _check_apart(first, second)
        scalar = _pick(logits, first) - _pick(logits, second)
        return Selected(scalar, Contrast(first, second))
    classes = (
        logits.detach().argmax(1)
        if target is None
        else classes_of(target, logits, model)
    )
    return Selected(_pick(logits, classes), classes)


def _tell_of_others(output: Any, batch: int) -> None:
    """Warn where a mapping of a model's own says of several values alike."""
    # transformers' outputs say by their names what they are.
    if not isinstance(output, Mapping) or hasattr(output, "to_tuple"):
        return
    values = {n: v for n, v in output.items() if isinstance(v, Tensor)}
    alike = [
        name
        for name, value in values.items()
        if value.is_floating_point() and value.ndim > 1 and len(value) == batch
    ]
    if len(alike) > 1 and not values.keys() & set(_LOGITS):
        first, last = alike[0], alike[-1]
        warnings.warn(
            f"the model returned a mapping of {', '.join(map(repr, alike))}, and "
            f"{first!r} is explained, which comes first. Call what is to be explained "
            f"'logits', or pass target=lambda output: output[{last!r}][:, 0].",
            LrpHooksWarning,
            stacklevel=2,
        )


def _check_apart(first: Tensor, second: Tensor) -> None:
    """Tell a contrast whose sides are one class: their difference is always 0.

    Raises:
        TargetError: If no example has two.
    """
    alike = (first == second).nonzero().flatten().tolist()
    if not alike:
        return
    where = f" in example {alike[0]}" if len(first) > 1 else ""
    said = (
        f"target=Contrast(a, b) has class {int(first[alike[0]])} on both sides{where}; "
        "their difference is 0 whatever the inputs say. Pass two classes."
    )
    if len(alike) == len(first):
        raise TargetError(said)
    warnings.warn(said, LrpHooksWarning, stacklevel=2)


def _pick(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes.unsqueeze(1)).squeeze(1)


def _called(target: Callable[[Any], Any], output: Any, batch: int) -> Tensor:
    scalar = target(output)
    if not isinstance(scalar, Tensor) or tuple(scalar.shape) != (batch,):
        came = tuple(scalar.shape) if isinstance(scalar, Tensor) else type(scalar)
        raise TargetError(
            f"the target function returned {came}; it must return a tensor of shape "
            f"({batch},), one number for each example."
        )
    return scalar


def class_logits(
    output: Any, batch: int, mask: Tensor | None, batch_dim: int = 0
) -> Tensor:
    """Return one row of logits an example.

    Args:
        output: What the model returned.
        batch: B.
        mask: The attention mask of the tokens that the logits belong to, [B, T].
        batch_dim: Which axis of a sequence of logits counts the examples.

    Returns:
        [B, C]: a single output as one class, a sequence at its last position.

    Raises:
        TargetError: If the logits have another shape.
    """
    logits = find_logits(output)
    if logits.ndim == 0 and batch == 1:
        logits = logits.reshape(1)
    if logits.ndim == 1:
        logits = logits.unsqueeze(1)
    if logits.ndim == 3:
        if batch_dim < 3 and logits.shape[batch_dim] == batch:
            logits = logits.movedim(batch_dim, 0)
        rows = torch.arange(logits.shape[0], device=logits.device)
        logits = logits[rows, _last_position(logits, mask)]
    if logits.ndim != 2 or logits.shape[0] != batch:
        raise TargetError(
            f"the model's logits have shape {tuple(logits.shape)} for {batch} "
            "examples; pass target=a function from the model's output to a tensor [B]."
        )
    return logits


def _last_position(logits: Tensor, mask: Tensor | None) -> Tensor:
    batch, length = logits.shape[:2]
    if mask is None or mask.ndim != 2 or mask.shape[0] != batch:
        return torch.full((batch,), length - 1, device=logits.device)
    tokens = mask.shape[1]
    places = torch.arange(tokens, device=mask.device)
    last = torch.where(mask != 0, places, -1).amax(1).clamp(min=0)
    return (length - tokens + last).clamp(min=0).to(logits.device)
