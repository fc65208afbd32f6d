"""Labels of texts as classes of a model: all of them names, or all of them numbers."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any

from torch import Tensor, nn

from ..attribution.classes import label_id, label_ids
from ..errors import ArgumentError, LrpHooksWarning, TargetError
from ..support.suggest import did_you_mean
from ..texts.listing import as_list

__all__ = ["classes_of_labels", "classes_of_those", "known_classes"]


def classes_of_labels(model: nn.Module, labels: Any) -> tuple[int, ...]:
    """Understand the labels of a data set as a whole.

    Args:
        model: Knows its labels and how many classes it has.
        labels: Numbers of classes; or strings, which are names, whatever their case,
            where all of them are such, and else numbers.

    Returns:
        The class of each. Where all strings are names, and could be numbers of other
        classes as well, a warning says so.

    Raises:
        TargetError: If they are neither all names nor all numbers of classes.
    """
    given, names, numbers = _read(model, labels)
    by_name = [number for number in names if number is not None]
    by_number = [number for number in numbers if number is not None]
    if len(by_name) == len(given):
        if len(by_number) == len(given) and by_name != by_number:
            _warn(given, names, numbers)
        return tuple(by_name)
    if len(by_number) == len(given):
        return tuple(by_number)
    numerals = all(not isinstance(label, str) or label.isdecimal() for label in given)
    row = (numbers if numerals else names).index(None)
    raise TargetError(_unknown(model, given[row], row))


def classes_of_those(model: nn.Module, labels: Any) -> tuple[int | None, ...]:
    """Understand the labels of those texts that have one.

    Args:
        model: See `classes_of_labels`.
        labels: See `classes_of_labels`; ``None`` where a text has none.

    Returns:
        The class of each, ``None`` where it has no label.
    """
    listed = as_list(labels)
    if listed is None or all(label is not None for label in listed):
        return classes_of_labels(model, labels)
    given = [label for label in listed if label is not None]
    known = iter(classes_of_labels(model, given))
    return tuple(None if label is None else next(known) for label in listed)


def known_classes(model: nn.Module, labels: Any) -> tuple[int | None, ...]:
    """Understand those labels of a data set that the model knows.

    Args:
        model: See `classes_of_labels`.
        labels: See `classes_of_labels`; ``None`` where a text has none.

    Returns:
        The class of each, ``None`` for one that the model does not know: all are
        names, or all are numbers, whichever more of them are; names, if as many.

    Raises:
        TargetError: If the model knows none of them, or they count from 1.
    """
    given, names, numbers = _read(model, labels)
    most = max(names, numbers, key=lambda read: sum(c is not None for c in read))
    row = next((i for i, label in enumerate(given) if label is not None), 0)
    if all(number is None for number in most):
        raise TargetError(_unknown(model, given[row], row))
    if most == numbers:
        _check_from_zero(model, given, numbers)
    if all((a is None) == (b is None) for a, b in zip(names, numbers, strict=True)):
        if names != numbers:
            _warn(given, names, numbers)
    return tuple(most)


def _check_from_zero(model: nn.Module, given: list[Any], found: list[Any]) -> None:
    """Refuse numbers from 1 to C, whose classes would each be the next one's."""
    count = _count(model)
    if 0 in found or count is None:
        return
    if any(str(label).removesuffix(".0") == str(count) for label in given):
        raise TargetError(
            f"labels has {count} and no 0, as if classes were counted from 1; the "
            f"model counts from 0 to {count - 1}. Subtract 1, or write names: "
            f"{', '.join(map(repr, label_ids(model)))}."
        )


def _read(
    model: nn.Module, labels: Any
) -> tuple[list[Any], list[int | None], list[int | None]]:
    """Return labels, and what they are as names and as numbers.

    Raises:
        ArgumentError: If they are no sequence.
    """
    given = labels.tolist() if isinstance(labels, Tensor) else as_list(labels)
    if given is None:
        raise ArgumentError(
            f"labels is a {type(labels).__name__}; it must be a list with the class or "
            "label name of each text."
        )
    numbers = [_number(model, label) for label in given]
    names = [
        label_id(model, label) if isinstance(label, str) else number
        for label, number in zip(given, numbers, strict=True)
    ]
    return given, names, numbers


def _number(model: nn.Module, label: Any) -> int | None:
    """Return the class that a label is the number of."""
    if isinstance(label, str):
        whole = label.isascii() and label.isdecimal() and len(label) < 10
    else:
        whole = isinstance(label, Real) and not isinstance(label, bool)
        whole = whole and label % 1 == 0
    count = _count(model)
    fits = whole and int(label) >= 0 and (count is None or int(label) < count)
    return int(label) if fits else None


def _count(model: nn.Module) -> int | None:
    count = getattr(getattr(model, "config", None), "num_labels", None)
    return count if isinstance(count, int) else None


def _warn(given: list[Any], names: list[Any], numbers: list[Any]) -> None:
    """Say that labels are read as names and could be numbers of other classes."""
    row = next(i for i in range(len(given)) if names[i] != numbers[i])
    warnings.warn(
        f"labels could be names or numbers, and are read as names: {given[row]!r}, in "
        f"row {row}, is class {names[row]}, not {numbers[row]}. If they are numbers, "
        "rename the model's labels.",
        LrpHooksWarning,
        stacklevel=3,
    )


def _unknown(model: nn.Module, label: object, row: int) -> str:
    known, count = label_ids(model), _count(model)
    return (
        f"labels holds {label!r}, in row {row}, which the model does not know; its "
        f"labels are {', '.join(map(repr, known)) or 'unnamed'}"
        + (f"; numbers alone, without names, are 0 to {count - 1}." if count else ".")
        + did_you_mean(label, known)
    )
