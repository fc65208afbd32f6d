"""One gradient for all that was selected of a tensor.

A loop over tokens selects them from a tensor one by one. For each, autograd fills a
tensor of zeros as large as the whole and adds it to the others, which takes the square
of the number of tokens. Here all write to the first one's.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .undo import undoing

__all__ = ["gathering"]

_MANY = 8
"""How many selections are worth a hook each."""
_WRAPPED = 2**63


@contextmanager
def gathering(outputs: Iterable[Tensor]) -> Generator[None]:
    """Sum gradients of selections in place while backward passes run.

    The graph stays as it is, and so do the gradients, bit for bit; what the passes
    record of themselves is one stack.

    Args:
        outputs: Where all backward passes inside start, all of them each time.

    Yields:
        Nothing.
    """
    with undoing() as undo:
        for nodes in _groups(outputs):
            selections = _Selections(nodes)
            for node in nodes:
                before = partial(selections.before, _index(node))
                undo.add(node.register_prehook(before).remove)
                undo.add(node.register_hook(selections.after).remove)
        yield


def _groups(outputs: Iterable[Tensor]) -> list[list[Any]]:
    """Find tensors of which nothing but selections along one dimension are used."""
    takers: dict[tuple[Any, int], list[Any]] = {}
    stack = [output.grad_fn for output in outputs if output.grad_fn is not None]
    roots, seen = set(stack), set(stack)
    while stack:
        node = stack.pop()
        for parent, number in node.next_functions:
            if parent is None:
                continue
            takers.setdefault((parent, number), []).append(node)
            if parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return [
        nodes
        for (parent, _), nodes in takers.items()
        if len(nodes) >= _MANY and parent not in roots and _are_selections(nodes)
    ]


def _are_selections(nodes: list[Any]) -> bool:
    if any(node.name() != "SelectBackward0" for node in nodes):
        return False
    return len({node._saved_dim for node in nodes}) == 1


def _index(node: Any) -> int:
    """Return the position that was selected; autograd keeps it without a sign."""
    index = int(node._saved_index)
    return index - 2 * _WRAPPED if index >= _WRAPPED else index


class _Selections:
    """The selections of one tensor."""

    def __init__(self, nodes: list[Any]) -> None:
        self.count = len(nodes)
        self.dim = nodes[0]._saved_dim
        self.dim -= 2 * _WRAPPED if self.dim >= _WRAPPED else 0
        self.left = 0
        self.whole: Tensor | None = None
        self.parts: list[tuple[int, Tensor]] = []

    def before(self, index: int, grads: tuple[Tensor | None]) -> Any:
        """Take a selection's gradient away, but the first."""
        if self.left == 0:
            self.left, self.whole, self.parts = self.count, None, []
        self.left -= 1
        (grad,) = grads
        if grad is None:
            given = None
        elif self.whole is None:
            given = None  # this one makes the whole
            self.parts.append((index, grad))
        elif torch.is_grad_enabled():
            given = (None,)
            self.parts.append((index, grad))
        else:
            given = (None,)
            self.whole.select(self.dim, index).add_(grad)
        if self.left == 0:
            self._complete()
        return given

    def after(self, grads: tuple[Tensor | None], _: Any) -> None:
        """Keep the whole that autograd has made of the first."""
        if grads[0] is not None:
            self.whole = grads[0]

    def _complete(self) -> None:
        if self.whole is not None and len(self.parts) > 1:
            self.whole.copy_(self._stacked(self.whole.shape[self.dim]))
        self.parts = []

    def _stacked(self, length: int) -> Tensor:
        nothing = torch.zeros_like(self.parts[0][1])
        rows = [nothing] * length
        for index, part in self.parts:
            rows[index] = part if rows[index] is nothing else rows[index] + part
        return torch.stack(rows, self.dim)
