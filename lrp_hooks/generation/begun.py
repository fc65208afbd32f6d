"""One forward pass over a text, from which the backward passes of its tokens start."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.backward import relevance_of
from ..attribution.call import Call
from ..attribution.checks import check_reached
from ..attribution.finite import check_output
from ..attribution.instrument import Instrumentation
from ..attribution.passes import Request, forward_pass, prepared
from ..attribution.places import by_place
from ..attribution.readout import find_logits
from ..engine.foreign import depends
from ..engine.subject import Subject
from ..errors import UnruledWarning
from .batched import Noting
from .folding import Clock, Folding, folding
from .head import Start, start_of_each, watched_head

__all__ = ["Begun", "Read", "started"]


@dataclass(frozen=True, eq=False)
class Read:
    """A leaf that relevance is read at.

    Attributes:
        name: What was read.
        leaf: [1, T, D], or a float input of any shape.
        folding: How it becomes a row of columns; None of tokens.
    """

    name: str
    leaf: Tensor
    folding: Folding | None = None

    @property
    def places(self) -> int:
        """T, or how many columns there are."""
        return self.leaf.shape[1] if self.folding is None else len(self.folding.names)

    def relevance(self, grads: Tensor) -> Tensor:
        """Return the relevance of what was read.

        Args:
            grads: Gradients of C passes, [C, ...] in the shape of the leaf.

        Returns:
            [C, ...] without the axis of the one example, if there is one.
        """
        alone = len(self.leaf) == 1
        return relevance_of(
            self.leaf if alone else self.leaf[None], grads[:, 0] if alone else grads
        )

    def columns(self, relevance: Tensor) -> Tensor:
        """Sum relevance by column.

        Args:
            relevance: [C, ...].

        Returns:
            [C, T].
        """
        if self.folding is None:
            return by_place(relevance)
        return self.folding(relevance)


@dataclass(frozen=True, eq=False)
class Begun:
    """One forward pass over a text, from which backward passes can start.

    Attributes:
        values: What is explained of the last tokens, [1, G].
        reads: What relevance is read at.
        collector: Where sources are noted.
        start: Where the passes start; None if nothing depends on what is read.
    """

    values: Tensor
    reads: list[Read]
    collector: Noting
    start: Start | None


@contextmanager
def started(
    model: nn.Module,
    lrp: Instrumentation,
    inputs: Mapping[str, Tensor],
    count: int,
    explained: Callable[[Tensor], list[Tensor]],
    wrt: Sequence[str] | None = None,
) -> Generator[Begun]:
    """Run a language model once over a text, and its head backward.

    Args:
        model: The instrumented model.
        lrp: Its instrumentation.
        inputs: What the model is called with: one example, without the last token.
        count: G, how many of the tokens that follow are explained: the last ones.
        explained: From the logits before those, [1, G, V], to what is explained of
            each: terms [1, G] of a sum.
        wrt: The inputs that are read; the main one by default.

    Yields:
        Where the backward passes start.
    """
    subject = Subject(model)
    request = Request(_inputs(model, inputs, count), None, wrt, (), _complain)
    with prepared(subject, request.inputs) as call, watched_head(model) as hidden:
        forward = forward_pass(subject, lrp.runtime, call, request, Noting)
        parts = explained(find_logits(forward.output)[:, -count:])
        values = torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
        check_output(subject, call, values[0])
        lrp.runtime.report_graph(values, forward.collector)
        reads = [
            Read(name, leaf, _folded(name, leaf, model, call))
            for name, leaf in forward.reads.items()
        ]
        missed = [r.name for r in reads if not depends(values, [r.leaf])]
        if missed:
            check_reached(missed, _complain)
        collector, start = forward.collector, None
        assert isinstance(collector, Noting)
        if len(missed) < len(reads):
            start = start_of_each(values, parts, hidden, collector)
        yield Begun(values, reads, collector, start)


def _folded(name: str, leaf: Tensor, model: nn.Module, call: Call) -> Folding | None:
    if name not in call.floats:
        return None
    return folding(name, leaf, model, call.tensors, Clock())


def _inputs(
    model: nn.Module, inputs: Mapping[str, Tensor], count: int
) -> dict[str, Any]:
    """Ask the model for the last logits alone where it can be asked."""
    offered: dict[str, Any] = {"logits_to_keep": count, "use_cache": False}
    if "input_ids" in inputs and "attention_mask" not in inputs:
        offered["attention_mask"] = torch.ones_like(inputs["input_ids"])
    takes = inspect.signature(model.forward).parameters
    return {**inputs, **{k: v for k, v in offered.items() if k in takes}}


def _complain(message: str) -> None:
    warnings.warn(message, UnruledWarning, stacklevel=2)
