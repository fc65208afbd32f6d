"""The interface that all explainers share."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from torch import nn

from ..errors import ArgumentError
from ..results.explanation import Explanation
from ..support.folders import how_to_load
from ..support.suggest import did_you_mean

__all__ = ["Explainer", "check_option", "check_reads"]


class Explainer(ABC):
    """Built on a model and options, then called on batches.

    Subclasses take their options as named arguments of ``__init__`` after the model;
    ``explain(..., **options)`` passes them on and lists them in errors.

    Attributes:
        reads_sides: Whether ``wrt`` may name several inputs of different lengths.
        class_specific: Whether scores are those of the target, rather than the same
            whichever class is asked about; where not, ``meta`` says so, too.
    """

    reads_sides: ClassVar[bool] = False
    class_specific: ClassVar[bool] = True

    def __init__(self, model: nn.Module) -> None:
        """Remember the model; nothing is done to it before a call.

        Args:
            model: The model to explain.

        Raises:
            ArgumentError: If it is no module.
        """
        if not isinstance(model, nn.Module):
            raise ArgumentError(
                f"model is a {type(model).__name__}; it must be a torch.nn.Module."
                f"{how_to_load(model)}"
            )
        self.model = model

    @abstractmethod
    def __call__(self, inputs: Any, target: Any = None) -> Explanation:
        """Explain one output of each example.

        Args:
            inputs: A tensor, a tuple of tensors or a mapping of keyword arguments.
            target: What to explain: a class or token id, one for each example, a
                label, a ``Contrast``, or a function of the model's output. Defaults to
                ``None``: the arg-max.

        Returns:
            The explanation of the batch.
        """

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """List the options.

        Returns:
            The names that ``__init__`` takes beside the model.
        """
        return tuple(name for name in inspect.signature(cls).parameters)[1:]

    @classmethod
    def check_options(cls, options: dict[str, Any]) -> None:
        """Refuse options that do not exist.

        Args:
            options: What a caller wants to pass to ``__init__``.

        Raises:
            ArgumentError: If one is unknown; the message names the valid ones.
        """
        unknown = [name for name in options if name not in cls.options()]
        if unknown:
            name, value = unknown[0], options[unknown[0]]
            where = f" Move the model and its inputs: model.to({value!r})."
            raise ArgumentError(
                f"{name}={value!r} is no option of {cls.__name__}; its options are "
                f"{', '.join(cls.options()) or 'none'}.{where * (name == 'device')}"
            )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def check_option(
    explainer: Explainer, option: str, value: object, allowed: Iterable[str]
) -> None:
    """Refuse a value that an option does not have.

    Args:
        explainer: Whose option it is.
        option: Its name.
        value: What came.
        allowed: The values it has.

    Raises:
        ArgumentError: If ``value`` is none of them; the message lists them.
    """
    allowed, named = tuple(allowed), type(explainer).__name__.lstrip("_")
    if value not in allowed:
        raise ArgumentError(
            f"{option}={_short(value)} is no choice of {named}; it "
            f"must be one of {', '.join(map(repr, allowed))}."
            f"{did_you_mean(value, allowed)}"
        )


def check_reads(explainer: type[Explainer], inputs: Iterable[str]) -> None:
    """Refuse a method that reads one input where several are to have scores.

    Args:
        explainer: The method.
        inputs: What is to be read.

    Raises:
        ArgumentError: If it has no ``wrt``.
    """
    if "wrt" not in explainer.options():
        raise ArgumentError(
            f"{explainer.__name__} gives scores to one input, and what is explained "
            f"has several: {', '.join(map(repr, inputs))}. Take a method that reads "
            "all of them: 'lrp', 'gradient_x_input', 'saliency', "
            "'integrated_gradients' or 'smooth_grad'."
        )
