"""What every kind of question shares: how it is asked, and how it is worked on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any, Protocol

from torch import Tensor, nn

from ..attribution.blocks import block_lists
from ..engine.nested import first_tensor
from ..engine.subject import Subject
from ..engine.undo import undoing
from ..errors import LrpHooksWarning
from ..support.text import escape

__all__ = [
    "AbandonedError",
    "Answer",
    "Asked",
    "Kind",
    "notes",
    "stopped_backward",
    "working",
]

Answer = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """Something that may be asked.

    Attributes:
        question: The dataclass that a request is read as.
        work: Answers one; the event stops the work once it is set.
        largest: How many bytes a request has at most.
    """

    question: type[Any]
    work: Callable[[Any, Event], Answer]
    largest: int = 256 * 1024


class Kind(Protocol):
    """One kind of question about one model: a tab of the page."""

    def about(self) -> Answer:
        """Describe what may be asked.

        Returns:
            What the page's controls need to know.
        """
        ...

    def asked(self) -> Mapping[str, Asked]:
        """List what may be asked.

        Returns:
            By path.
        """
        ...


class AbandonedError(Exception):
    """The work was stopped, since nobody waits for it any more."""


@contextmanager
def working(model: nn.Module, abandoned: Event) -> Generator[list[str]]:
    """Stop at the next call of the model when nobody waits any more.

    Args:
        model: The model.
        abandoned: Stops the work once it is set.

    Yields:
        What the library warned of, complete at the end.
    """

    def check(module: nn.Module, args: Any) -> None:
        if abandoned.is_set():
            raise AbandonedError

    messages: list[str] = []
    handle = model.register_forward_pre_hook(check)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield messages
    finally:
        handle.remove()
    kept = [str(w.message) for w in caught if issubclass(w.category, LrpHooksWarning)]
    messages += dict.fromkeys(kept)


@contextmanager
def stopped_backward(model: nn.Module, abandoned: Event) -> Generator[None]:
    """Stop at the next block of a backward pass, too: an answer may start many.

    Args:
        model: The model, before it is instrumented.
        abandoned: Stops the work once it is set.

    Yields:
        Nothing.
    """

    def check(gradient: Tensor) -> None:
        if abandoned.is_set():
            raise AbandonedError

    def watch(module: nn.Module, args: Any, output: Any) -> None:
        value = first_tensor(output, Tensor.is_floating_point)
        if value is not None and value.requires_grad:
            value.register_hook(check)  # type: ignore[no-untyped-call]

    with undoing() as undo:
        for blocks in block_lists(Subject(model)):
            for block in blocks.values():
                undo.hook(block, "forward_hook", watch)
        yield


def notes(warned: list[str]) -> str:
    """Show what the library warned of.

    Args:
        warned: The messages.

    Returns:
        HTML with everything escaped.
    """
    return "".join(f'<p role="note">{escape(message)}</p>' for message in warned)
