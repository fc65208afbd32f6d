"""The language-model head: one backward pass for all tokens, which start behind it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.nested import first_tensor
from .batched import Noting

__all__ = ["Start", "start_of_each", "watched_head"]


@dataclass(frozen=True, eq=False)
class Start:
    """Where the backward passes start: at a tensor with one row for each token.

    Attributes:
        output: [1, K, ...], whose last G rows belong to the tokens.
        weights: The gradient of all explained logits, in the shape of ``output``.
        sources: What the head has added, ``{name: [G]}``.
    """

    output: Tensor
    weights: Tensor
    sources: dict[str, Tensor]

    def seeds(self, tokens: range, count: int) -> Tensor:
        """Return the gradients that single tokens start with.

        Args:
            tokens: Which ones.
            count: G.

        Returns:
            [C, 1, K, ...].
        """
        first = self.weights.shape[1] - count
        seeds = self.weights.new_zeros(len(tokens), *self.weights.shape)
        for row, token in enumerate(tokens):
            seeds[row, 0, first + token] = self.weights[0, first + token]
        return seeds


@contextmanager
def watched_head(model: nn.Module) -> Generator[list[Tensor]]:
    """Watch what comes into the language-model head.

    Args:
        model: A language model.

    Yields:
        A list that fills up while the model runs.
    """
    hidden: list[Tensor] = []

    def note(module: nn.Module, args: Any, kwargs: Any) -> None:
        value = first_tensor((args, kwargs))
        if value is not None:
            hidden.append(value)

    head = model.get_output_embeddings()  # type: ignore[operator]
    handle = head.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield hidden
    finally:
        handle.remove()


def start_of_each(
    explained: Tensor, parts: list[Tensor], hidden: list[Tensor], collector: Noting
) -> Start:
    """Start at the head's input if it has one row a token, else at the logits.

    Args:
        explained: The explained logits, [1, G].
        parts: Terms that sum to them, each run backward through the head by itself.
        hidden: What `watched_head` saw.
        collector: Where sources are noted.

    Returns:
        Where the backward passes start.
    """
    plain = Start(explained, torch.ones_like(explained), {})
    count = explained.shape[1]
    if collector.spread or len(hidden) != 1 or not hidden[0].requires_grad:
        return plain  # parameters are gathered where a pass comes by the whole model
    if hidden[0].ndim != 3 or hidden[0].shape[1] < count:
        return plain
    collector.clear()
    found = [
        torch.autograd.grad(
            part.sum(), hidden[0], retain_graph=True, allow_unused=True
        )[0]
        for part in parts
    ]
    noted = collector.take()
    rows = tuple(hidden[0].shape[:2])
    reached = [grad for grad in found if grad is not None]
    if not reached or any(tuple(terms.shape[:2]) != rows for _, terms in noted):
        return plain
    weights = torch.stack(reached).sum(0)
    sources: dict[str, Tensor] = {}
    for name, terms in noted:
        values = terms.double().reshape(rows[1], -1).sum(1)[-count:]
        sources[name] = sources[name] + values if name in sources else values
    return Start(hidden[0], weights, sources)
