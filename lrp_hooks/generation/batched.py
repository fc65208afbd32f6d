"""Several backward passes through one graph at once.

Autograd's own functions take a batch of gradients by ``torch.vmap``. A rule is asked
for one gradient after another, so that it may be written as for one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from ..engine.sources import SourceCollector, of_all_ranks
from ..engine.splicing import is_of_rules
from ..errors import LrpHooksError

__all__ = ["End", "Noting", "batch_rules", "gradients_of_each"]

End = Tensor | GradientEdge
"""Where a backward pass starts: a tensor, or its place in the graph alone."""


class Noting(SourceCollector):
    """A collector whose terms are taken out as they were noted."""

    def take(self, start: int = 0) -> list[tuple[str, Tensor]]:
        """Take out what was noted.

        Args:
            start: How many of the first terms stay.

        Returns:
            Names and terms, in the order in which they came.
        """
        taken = [of_all_ranks(noted) for noted in self._noted[start:]]
        del self._noted[start:]
        return taken

    @property
    def count(self) -> int:
        """How many terms are noted."""
        return len(self._noted)


class _Each(torch.autograd.Function):
    """A rule's gradient and the terms that it notes, for one gradient or for each."""

    @staticmethod
    def forward(rule: _Run, *given: Tensor) -> Any:
        return rule(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Save nothing: nobody differentiates a backward pass."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        rule: _Run,
        grads: Tensor,
        *saved: Tensor,
    ) -> Any:
        dim = in_dims[1]
        assert dim is not None, "only gradients come in batches"
        outputs = rule.of_each(grads.movedim(dim, 0), saved)
        return outputs, (0,) * len(outputs)


def batch_rules(ends: Sequence[End], collector: Noting, folds: bool = False) -> None:
    """Let every rule in a graph take a batch of gradients.

    Args:
        ends: Where backward passes start.
        collector: Where the graph's rules enter sources.
        folds: Whether a rule may be asked once for all, as for as many equal examples;
            that it says the same then is checked by numbers.
    """
    for node in _graph(ends):
        if is_of_rules(node):
            node.rule = partial(_batched, _Run(node.rule, collector, folds))
            node.takes_batches = True


def _graph(ends: Sequence[End]) -> Generator[Any]:
    """Walk the graph behind tensors, each node once."""
    seen = {None}
    stack: list[Any] = [
        end.grad_fn if isinstance(end, Tensor) else end.node for end in ends
    ]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            yield node
            stack += [parent for parent, _ in node.next_functions]


class _Run:
    """A rule that returns what it notes, too."""

    def __init__(
        self, rule: Callable[..., Tensor], collector: Noting, folds: bool
    ) -> None:
        self.rule, self.collector = rule, collector
        self.folds: bool | None = None if folds else False
        self.names: list[str] = []

    def __call__(self, grad: Tensor, *saved: Tensor) -> tuple[Tensor, ...]:
        start = self.collector.count
        result = self.rule(grad, *saved)
        noted = self.collector.take(start)
        self.names = [name for name, _ in noted]
        return (result, *(terms for _, terms in noted))

    def of_each(self, grads: Tensor, saved: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Ask for each of C gradients, [C, ...]; for all at once where it can be."""
        if self.folds is not False and grads.ndim > 2 and grads.shape[1] == 1:
            found = self._folded(grads, saved)
            if found is not None:
                return found
        each = [self(grad, *saved) for grad in grads.unbind(0)]
        return tuple(map(torch.stack, zip(*each, strict=True)))

    def _folded(
        self, grads: Tensor, saved: Sequence[Tensor]
    ) -> tuple[Tensor, ...] | None:
        """Ask once, as for C equal examples; None where the answer is another."""
        count = len(grads)
        alike = [
            s.expand(count, *s.shape[1:]) if s.ndim > 1 and len(s) == 1 else s
            for s in saved
        ]
        if self.folds is None:
            self.folds = self._says_the_same(grads, alike, saved)
        if not self.folds:
            return None
        outputs = self(grads.flatten(0, 1), *alike)
        return tuple(out.unsqueeze(1) for out in outputs)

    def _says_the_same(
        self, grads: Tensor, alike: Sequence[Tensor], saved: Sequence[Tensor]
    ) -> bool | None:
        """Try whether a rule asked once says what it says when it is asked for each.

        Rows of very different sizes show what looks at all of them; None if all are
        zeros, of which any rule makes the same.

        Returns:
            Whether it does.
        """
        live = grads.flatten(1).any(1)
        if not bool(live.any()):
            return None
        rows = torch.where(
            live, torch.arange(len(grads)).to(live.device), live.long().argmax()
        )
        sizes = [64.0 ** (k % 3 - 1) for k in range(len(grads))]
        tried = grads[rows] * grads.new_tensor(sizes).view(-1, *(1,) * (grads.ndim - 1))
        start = self.collector.count
        try:
            outputs = self(tried.flatten(0, 1).clone(), *alike)
        except _REFUSALS:
            self.collector.take(start)
            return False
        if any(not out.ndim or len(out) != len(grads) for out in outputs):
            return False
        each = [self(grad.clone(), *saved) for grad in tried]
        return all(
            len(found) == len(outputs)
            and all(map(_alike, (out[k, None] for out in outputs), found))
            for k, found in enumerate(each)
        )


_REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    LrpHooksError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a rule may raise that was written for one example."""


def _alike(a: Tensor, b: Tensor) -> bool:
    size = float(b.abs().max()) if b.numel() else 0.0
    near = torch.finfo(b.dtype).eps ** 0.75 * size
    return a.shape == b.shape and bool(((a - b).abs() <= near).all())


def _batched(run: _Run, grad: Tensor, *saved: Tensor) -> Tensor:
    result, *terms = _Each.apply(run, grad, *saved)  # type: ignore[no-untyped-call]
    for name, values in zip(run.names, terms, strict=True):
        run.collector.add(name, values)
    return result  # type: ignore[no-any-return]


def gradients_of_each(
    ends: Sequence[End],
    leaves: Sequence[Tensor],
    seeds: Sequence[Tensor],
    collector: Noting,
) -> tuple[tuple[Tensor, ...], list[tuple[str, Tensor]]]:
    """Run one backward pass for each seed, all at once; the graph stays.

    Args:
        ends: What is explained, of any shapes.
        leaves: Whose gradients are asked for.
        seeds: [C, ...] for each end, its gradients.
        collector: Where the graph's rules enter sources.

    Returns:
        The gradients of each leaf, and the names and terms that were noted, all of
        them [C, ...].
    """
    names: list[str] = []

    def run(seeds: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        collector.clear()
        found = torch.autograd.grad(
            ends,  # type: ignore[arg-type]  # both kinds may stand in one list
            leaves,
            seeds,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        noted = collector.take()
        names[:] = [name for name, _ in noted]
        return found, [terms for _, terms in noted]

    if len(seeds[0]) == 1:
        grads, terms = run([seed[0] for seed in seeds])
        grads, terms = tuple(g[None] for g in grads), [t[None] for t in terms]
    else:
        with warnings.catch_warnings():
            # Where autograd has no batched form of a kernel, torch calls it for each.
            warnings.filterwarnings(
                "ignore", "There is a performance drop", UserWarning
            )
            grads, terms = torch.vmap(run)(list(seeds))
    return grads, list(zip(names, terms, strict=True))
