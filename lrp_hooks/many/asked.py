"""What a run is asked to do with each text."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import explainers
from ..answers import explain_answer
from ..errors import ArgumentError
from ..explainers.calls import check_number
from ..generation import explain_generation
from .identity import print_of

__all__ = ["ANSWER", "CALLS", "TOKENS", "Asked"]

GENERATION, ANSWER = "generation", "answer"
# What is read beside each prompt, where the data has it.
_BESIDE = {GENERATION: ("continuation",), ANSWER: ("answer", "sources")}
CALLS: dict[str, Callable[..., Any]] = {
    GENERATION: explain_generation,
    ANSWER: explain_answer,
}
_OF_EXPLAIN = ("stride", "decoder")
_PART, _SMALL_PART = 512, 16
TOKENS = 1024
"""Tokens of a batch, padding included."""


@dataclass(frozen=True)
class Asked:
    """What is done with each text.

    Attributes:
        text: The column of texts, or the two of pairs.
        label: The column of what is explained; None for ``target``.
        target: What is explained of every text.
        method: An explainer, `GENERATION` or `ANSWER`.
        options: Of `explain`, `explain_generation` or `explain_answer`.
        batch_size: How many texts a batch has at most; None for as many as ``tokens``.
        tokens: How many tokens a batch has at most, padding included.
        part_size: How many texts a portion has; None for the method's own number.
    """

    text: tuple[str, ...]
    label: str | None = None
    target: Any = None
    method: str = "lrp"
    options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    tokens: int = TOKENS
    part_size: int | None = None

    @property
    def is_deep(self) -> bool:
        """Whether a text has rows of scores: a token or a span that is written each."""
        return self.method in CALLS

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        labels = () if self.label is None else (self.label,)
        return (*self.text, *labels, *_BESIDE.get(self.method, ()))

    @property
    def size(self) -> int:
        """How many texts a portion has."""
        return self.part_size or (_SMALL_PART if self.is_deep else _PART)

    def check(self) -> None:
        """Refuse what cannot be done with any text.

        Raises:
            ArgumentError: If an option is none, or does not go with the method.
        """
        for name in ("batch_size", "part_size"):
            value = getattr(self, name)
            if value is not None:
                check_number(name, value, least=1, whole=True)
        check_number("tokens_per_batch", self.tokens, least=1, whole=True)
        if self.label is not None and self.target is not None:
            raise ArgumentError(
                f"label={self.label!r} and target={self.target!r} both say what is "
                "explained. Pass one of them."
            )
        if isinstance(self.target, str) and self.target == "entities":
            raise ArgumentError(
                "target='entities' explains several outputs of a text, and a row is "
                "written for each text. Leave it out for the strongest entity."
            )
        self._check_options()

    def _check_options(self) -> None:
        if not self.is_deep:
            own = {k: v for k, v in self.options.items() if k not in _OF_EXPLAIN}
            explainers.named(self.method).check_options(own)
            return
        if self.label is not None:
            raise ArgumentError(
                f"label={self.label!r} goes with explainers, not with method="
                f"{self.method!r}. Leave it out."
            )
        known = [*inspect.signature(CALLS[self.method]).parameters][3:]
        for name in self.options:
            if name not in known:
                raise ArgumentError(
                    f"{name}={self.options[name]!r} is no option of method="
                    f"{self.method!r}; its options are {', '.join(known)}."
                )

    def fingerprint(self) -> dict[str, Any]:
        """Tell what is asked from something else.

        Returns:
            JSON-able; ``class_specific`` is false where scores are of no class.
        """
        specific = self.is_deep or explainers.named(self.method).class_specific
        return {
            "text": list(self.text),
            "label": self.label,
            "target": print_of(self.target),
            "method": self.method,
            **({} if specific else {"class_specific": False}),
            "batch_size": self.batch_size,
            "tokens_per_batch": self.tokens,
            "part_size": self.size,
            **{name: print_of(value) for name, value in self.options.items()},
        }
