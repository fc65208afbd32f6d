"""The blocks of a model, whatever its architecture: cuts of its residual stream.

Blocks are found by what a call shows, not by names: modules in a list, each of which
returns hidden states in the layout of those it was given, such that the model's output
is made of nothing but what it returned.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..engine.autograd import carries
from ..engine.nested import first_tensor, replace_first
from ..engine.sharding import seen_whole
from ..engine.sources import SourceCollector
from ..engine.subject import Subject
from ..engine.undo import undoing
from ..errors import ArgumentError

__all__ = ["BLOCKS", "asks_for_blocks", "block_lists", "watched_blocks"]

BLOCKS = "blocks"
"""The name in ``layers=`` of the residual stream after each block."""


def asks_for_blocks(subject: Subject, name: object) -> bool:
    """Tell whether a layer that is asked for stands for all blocks.

    Args:
        subject: The model. A module that is called ``blocks`` itself is a module,
            unless it is the list of them.
        name: One of ``layers``.

    Returns:
        True for ``"blocks"``.
    """
    own = subject.modules.get(BLOCKS)
    return name == BLOCKS and isinstance(own, nn.ModuleList | nn.Sequential | None)


@contextmanager
def watched_blocks(
    subject: Subject, collector: SourceCollector, whole: bool = False
) -> Generator[dict[str, Tensor]]:
    """Watch the residual stream of a forward pass.

    Args:
        subject: The instrumented model.
        collector: Knows B, and T where tokens are read.
        whole: Whether to take all blocks of a list that has a cut, such as a decoder's,
            of which the last alone is one where both sides are read.

    Yields:
        ``{block: [B, T, D]}`` in the order in which they ran, complete at the end. A
        block that runs again is named ``"<module>:2"``.

    Raises:
        ArgumentError: If no block was found.
    """
    watch = _Watch(collector)
    found: dict[str, Tensor] = {}
    with undoing() as undo:
        model = subject.model
        undo.hook(model, "forward_pre_hook", watch.start)
        undo.hook(model, "forward_hook", watch.end)
        for number, blocks in enumerate(block_lists(subject)):
            for name, block in blocks.items():
                hook = watch.block(number, name)
                undo.hook(block, "forward_hook", hook, with_kwargs=True)
        yield found
    found.update(watch.found(whole))
    if not found:
        raise ArgumentError(
            f"layers={BLOCKS!r} asks for the residual stream after each block, but "
            f"{type(model).__name__} has no list of modules each of which returns "
            "hidden states [B, T, D] that hold all it has read of the inputs; name "
            "the modules whose output to read instead."
        )


def block_lists(subject: Subject) -> list[dict[str, nn.Module]]:
    """List the outermost lists of modules.

    Args:
        subject: The model.

    Returns:
        The members of each list by name.
    """
    members: dict[str, dict[str, nn.Module]] = {}
    for name, module in subject.modules.items():
        members.setdefault(name.rpartition(".")[0], {})[name] = module
    inside: set[nn.Module] = set()
    lists = []
    for name, module in subject.modules.items():
        if module not in inside and _is_list(module):
            own = members.get(name, {}).items()
            lists.append({n: m for n, m in own if m not in inside})
            inside.update(module.modules())
    return lists


def _is_list(module: nn.Module) -> bool:
    """Tell a list of like modules from a sequence of steps, such as a classifier's."""
    if not isinstance(module, nn.Sequential):
        return isinstance(module, nn.ModuleList)
    steps = [m for m in module if next(m.parameters(), None) is not None]
    whole = all(next(m.children(), None) is not None for m in steps)
    return len(steps) > 1 and whole and len(set(map(type, steps))) == 1


class _Run(NamedTuple):
    """One call of a member of a list.

    Attributes:
        of: The number of its list.
        name: Its name.
        given: The first float tensor that it was given.
        returned: The first one that it returned, as it is watched.
        alike: Whether both had one shape.
    """

    of: int
    name: str
    given: Tensor | None
    returned: Tensor
    alike: bool


class _Watch:
    """Notes what members of lists are given and return, in one thread."""

    def __init__(self, collector: SourceCollector) -> None:
        self.collector = collector
        self.thread = threading.get_ident()
        self.runs: list[_Run] = []
        self.output: Tensor | None = None

    def start(self, *_: object) -> None:
        """Forget an earlier run: the model may run again to find what is read."""
        if threading.get_ident() == self.thread:
            self.runs.clear()

    def end(self, model: nn.Module, args: Any, output: Any) -> None:
        """Keep what the model returned."""
        if threading.get_ident() == self.thread:
            self.output = first_tensor(output, carries)

    def block(self, of: int, name: str) -> Callable[..., Any]:
        """Return the forward hook of a member."""

        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            value = first_tensor(output, torch.Tensor.is_floating_point)
            if value is None or threading.get_ident() != self.thread:
                return None
            given = first_tensor((args, kwargs), torch.Tensor.is_floating_point)
            alike = given is not None and given.shape == value.shape
            again = 1 + sum(run.name.partition(":")[0] == name for run in self.runs)
            label = f"{name}:{again}" if again > 1 else name
            spread = self.collector.spread
            seen = (
                seen_whole(value) if spread else (copy := value.clone(), copy.clone())
            )
            self.runs.append(_Run(of, label, given, seen[0], alike))
            # A clone is handed on, which a model may overwrite.
            return replace_first(output, value, seen[1])

        return hook

    def found(self, whole: bool) -> dict[str, Tensor]:
        """Return the residual stream after each block; see `watched_blocks`."""
        away = _away(self.runs)
        runs = [r for r in self.runs if r.of not in away and self._keeps_layout(r)]
        cuts = _cuts(runs, self.output)
        if whole:
            lists = {run.of for run in cuts}
            cuts = [run for run in runs if run.of in lists]
        lengths = {run.returned.shape[1] for run in cuts}
        length = self.collector.length
        if length not in lengths:  # a class token comes first, or pixels are read
            return {run.name: run.returned for run in cuts}
        return {r.name: r.returned for r in cuts if r.returned.shape[1] == length}

    def _keeps_layout(self, run: _Run) -> bool:
        layout = run.returned.ndim == 3 and len(run.returned) == self.collector.batch
        return layout and carries(run.given) and run.alike


def _away(runs: Iterable[_Run]) -> set[int]:
    """Return the lists that do not begin with what is read: those of a decoder."""
    away, known = set(), set()
    for run in runs:
        if run.of not in known and carries(run.returned):
            known.add(run.of)
            if not carries(run.given):
                away.add(run.of)
    return away


def _cuts(runs: Iterable[_Run], output: Tensor | None) -> list[_Run]:
    """Return the calls without whose result nothing of the inputs reaches the output.

    From the last one on: what is a cut below a cut is one of the whole model.
    """
    above, cuts = output, []
    for run in reversed(list(runs)):
        if _is_cut(above, run.returned):
            cuts.append(run)
            above = run.returned
    return cuts[::-1]


def _is_cut(above: Tensor | None, cut: Tensor) -> bool:
    """Tell whether no leaf of a tensor's graph is reached but through another's."""
    seen: set[Any] = {cut.grad_fn}
    stack: list[Any] = [None if above is None else above.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        if hasattr(node, "variable"):
            return False
        seen.add(node)
        stack += [parent for parent, _ in node.next_functions]
    return True
