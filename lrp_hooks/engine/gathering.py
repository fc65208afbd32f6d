"""One gradient for all that was selected of a tensor.

A loop over tokens selects them from a tensor one by one. For each, autograd fills a
tensor of zeros as large as the whole and adds it to the others, which takes the square
of the number of tokens. Here all write to the first one's.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from .undo import undoing

__all__ = ["gathering", "selects_much"]

_SELECT = "SelectBackward0"
_MANY = 8
"""How many selections are worth a hook each."""


def selects_much(graph: Iterable[Any]) -> bool:
    """Tell whether a graph is worth a look for loops.

    Args:
        graph: Its nodes.

    Returns:
        True if there are many selections.
    """
    return sum(type(node).__name__ == _SELECT for node in graph) >= _MANY


@contextmanager
def gathering(outputs: Iterable[Tensor]) -> Generator[None]:
    """Sum gradients of selections in place while backward passes run.

    The graph stays as it is, and so do the gradients, to the last digit; what passes
    record of themselves is one stack.

    Args:
        outputs: Where all backward passes inside start, all of them each time.

    Yields:
        Nothing.
    """
    groups = _groups(outputs)
    with _hooked(groups if groups and _hands_on() else []):
        yield


@contextmanager
def _hooked(groups: Iterable[tuple[list[Any], bool]]) -> Generator[None]:
    with undoing() as undo:
        for nodes, alone in groups:
            selections = _Selections(nodes, alone)
            for node in nodes:
                before = partial(selections.before, _signed(node._saved_index))
                undo.add(node.register_prehook(before).remove)
                undo.add(node.register_hook(selections.after).remove)
        yield


@cache
def _hands_on() -> bool:
    """Try whether autograd hands a gradient on uncopied, which it does not promise."""
    wanted = torch.arange(_MANY, dtype=torch.float64)
    with torch.enable_grad():
        leaf = torch.zeros_like(wanted, requires_grad=True)
        whole = leaf.clone()
        out = torch.stack([whole[n] * value for n, value in enumerate(wanted)]).sum()
        with _hooked(_groups([out])):
            (found,) = torch.autograd.grad(out, leaf)
    return torch.equal(found, wanted)


def _groups(outputs: Iterable[Tensor]) -> list[tuple[list[Any], bool]]:
    """Find tensors that many selections along one dimension are taken from.

    Returns:
        The selections of each, and whether nothing else is taken from it.
    """
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
    found = []
    for (parent, _), nodes in takers.items():
        if len(nodes) >= _MANY:
            taken = [node for node in nodes if node.name() == _SELECT]
            same = len({node._saved_dim for node in taken}) == 1
            if same and len(taken) >= _MANY:
                alone = len(taken) == len(nodes) and parent not in roots
                found.append((taken, alone))
    return found


def _signed(number: int) -> int:
    """Return a number that autograd keeps without its sign."""
    return number - (1 << 64) if number >= 1 << 63 else number


class _Selections:
    """The selections of one tensor.

    The whole is what autograd makes of one of them. Of the first, where nothing else
    is taken from the tensor, so that autograd adds nothing to it in the meantime;
    otherwise of the last, before it is added to anything.
    """

    def __init__(self, nodes: list[Any], alone: bool) -> None:
        self.count, self.alone = len(nodes), alone
        self.dim = _signed(nodes[0]._saved_dim)
        self.left = 0
        self.whole: Tensor | None = None
        self.parts: list[tuple[int, Tensor]] = []

    def before(self, index: int, grads: tuple[Tensor | None]) -> Any:
        """Take a selection's gradient away, but that which makes the whole."""
        if self.left == 0:
            self.left, self.whole, self.parts = self.count, None, []
        self.left -= 1
        (grad,) = grads
        makes = self.whole is None if self.alone else self.left == 0
        recorded = torch.is_grad_enabled()
        if grad is None:
            if self.parts and makes and not self.alone:
                raise RuntimeError(_CUT)
            return None
        if recorded or not (makes or self.alone):
            self.parts.append((index, grad))
        elif not makes and self.whole is not None:
            self.whole.select(self.dim, index).add_(grad)
        return None if makes else (None,)

    def after(self, grads: tuple[Tensor | None], _: Any) -> None:
        """Keep the whole; complete it after the last."""
        if grads[0] is not None:
            self.whole = grads[0]
        if self.left or self.whole is None:
            return
        if torch.is_grad_enabled():
            self.whole.copy_(self._stacked(self.whole.shape[self.dim]))
        else:
            for index, part in self.parts:
                self.whole.select(self.dim, index).add_(part)
        self.parts = []

    def _stacked(self, length: int) -> Tensor:
        nothing = torch.zeros_like(self.parts[0][1])
        rows = [nothing] * length
        for index, part in self.parts:
            rows[index] = part if rows[index] is nothing else rows[index] + part
        return torch.stack(rows, self.dim)


_CUT = (
    "the gradient of the last of many selections of a tensor was cut, and those of "
    "others were not; please report the model."
)
