"""Classes and their labels: from what a user calls a class to its number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TargetError
from ..support.suggest import did_you_mean, whatever_case
from ..texts.encoding import is_language_model

__all__ = ["class_of", "classes_of", "label_id", "label_ids"]


def classes_of(target: Any, logits: Tensor, model: nn.Module) -> Tensor:
    """Find a class for each example.

    Args:
        target: A class or label for all, or one for each example.
        logits: ``[B, C]``.
        model: The model, for its labels.

    Returns:
        ``[B]``.

    Raises:
        TargetError: If there are as many neither as one nor as examples, or one is no
            class.
    """
    batch, n_classes = logits.shape
    values = _values(target, model, n_classes)
    if len(values) == 1 and not isinstance(target, list | tuple | Tensor):
        values *= batch
    if len(values) != batch:
        raise TargetError(
            f"target has {len(values)} entries for {batch} examples; pass one class "
            f"for all, or {batch} of them."
        )
    return torch.tensor(values, device=logits.device)


def _values(target: Any, model: nn.Module, n_classes: int) -> list[int]:
    if hasattr(target, "__array__") and not isinstance(target, Tensor):
        entries = target.tolist()
        names = isinstance(entries, str) or (
            isinstance(entries, list) and any(isinstance(e, str) for e in entries)
        )
        target = entries if names else torch.as_tensor(target)
    if isinstance(target, Tensor):
        if target.is_floating_point() or target.dtype == torch.bool or target.ndim > 1:
            raise TargetError(
                f"target is a {target.dtype} tensor of shape {tuple(target.shape)}; it "
                "must hold whole numbers, one for each example (target.long())."
            )
        target = target.tolist()
    if isinstance(target, Sequence) and not isinstance(target, str):
        return [class_of(item, model, n_classes) for item in target]
    return [class_of(target, model, n_classes)]


def class_of(target: Any, model: nn.Module, n_classes: int) -> int:
    """Find a class.

    Args:
        target: Its number or its label.
        model: The model, for its labels.
        n_classes: C.

    Returns:
        The number.

    Raises:
        TargetError: If there is no such class.
    """
    value = _value(target, model, n_classes)
    if not 0 <= value < n_classes:
        raise TargetError(
            f"target={value} is out of range; the model has {n_classes} outputs, "
            f"0 to {n_classes - 1}."
        )
    return value


def _value(target: Any, model: nn.Module, n_classes: int) -> int:
    if isinstance(target, str):
        return _label(target, model)
    whole = hasattr(target, "__index__") and not isinstance(target, bool)
    if not whole:
        raise TargetError(
            f"target={target!r} is a {type(target).__name__}; it must be a class from "
            f"0 to {n_classes - 1}, a label name, a Contrast or a function."
        )
    return int(target)


def label_ids(model: nn.Module) -> dict[str, int]:
    """Return the labels of a model's configuration.

    Args:
        model: Any model.

    Returns:
        ``{label: class}``; empty where there are none.
    """
    config = getattr(model, "config", None)
    named = getattr(config, "id2label", None) or {}
    known = {str(label): int(number) for number, label in named.items()}
    # What a number is called says more than what a name was once the number of.
    for label, number in (getattr(config, "label2id", None) or {}).items():
        if str(number).isdecimal():
            known.setdefault(str(label), int(number))
    return known


def label_id(model: nn.Module, name: str) -> int | None:
    """Find the class of a label, whatever its case.

    Args:
        model: Any model.
        name: The label.

    Returns:
        The class; None if the model knows no such label, or several.
    """
    known = label_ids(model)
    found = whatever_case(name, known)
    return None if found is None else known[found]


def _label(name: str, model: nn.Module) -> int:
    number, labels = label_id(model, name), label_ids(model)
    if number is not None:
        return number
    if is_language_model(model):
        raise TargetError(
            f"target={name!r} is no label; the outputs of this model are tokens. Pass "
            f"the token's id: tokenizer.convert_tokens_to_ids({name!r})."
        )
    known = ", ".join(map(repr, list(labels)[:20])) or "none; pass the class's number"
    raise TargetError(
        f"target={name!r} is no label of this model; its labels are {known}."
        f"{did_you_mean(name, labels)}"
    )
