"""A graph that is cut at every node, so that paths through no other node are seen.

Each site hands on leaves in place of what arrives. A backward pass that starts at what
arrives at a site then ends at the sites below. Where the layer behind a site is a
module, what it returns goes on from a sink, which reads gradients as they arrive: they
are smaller there, and a pass need not keep those of all levels.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from ..attribution.finite import check_output
from ..attribution.instrument import Instrumentation
from ..attribution.passes import Forward, select_target
from ..engine.autograd import carries
from ..engine.sources import SourceCollector
from ..engine.splicing import splice
from ..engine.subject import Subject
from .examples import Example
from .experts import Rows
from .sites import Site
from .trace import Visitor, run_twin

__all__ = ["Arrived", "Cut", "Part", "Sink", "cut"]


@dataclass(frozen=True)
class Arrived:
    """What arrives at a site in one of its calls.

    Attributes:
        edge: Its place in the graph, without its values; None where it is constant.
        rows: How many rows it has.
    """

    edge: GradientEdge | None
    rows: int


class Sink:
    """What a layer made of leaves, joined to an anchor in their place.

    Attributes:
        name: What it notes its readings as.
        made: What the layer returned, with its graph; None where nobody needs that.
        anchor: A leaf, [1], whose gradient a backward pass that is to read asks for.
        read: From gradients [C, ...] to numbers [C, N]; None to note the gradients.
        collector: Where it notes them.
    """

    def __init__(self, name: str, made: Tensor) -> None:
        """Start without a reading of its own."""
        self.name, self.shape = name, made.shape
        self.made: Tensor | None = made
        self.anchor = torch.zeros(1, dtype=made.dtype, device=made.device)
        self.anchor.requires_grad = True  # not requires_grad_, which scopes leave
        self.read: Callable[[Tensor], Tensor] | None = None
        self.collector: SourceCollector | None = None

    def joined(self) -> Tensor:
        """Return what the layer returned, in memory of its own; gradients are read."""
        assert self.made is not None
        return splice(self.made.detach().clone(), self.anchor, self._noted)

    def _noted(self, grad: Tensor) -> Tensor:
        assert self.collector is not None
        count = grad.numel() // self.shape.numel()
        grads = grad.reshape(count, *self.shape)
        self.collector.add(self.name, grads if self.read is None else self.read(grads))
        return grad.new_zeros(count)


@dataclass(eq=False)
class Part:
    """The leaves that a level hands on, and the sink behind its layer.

    Attributes:
        number: The level's.
        leaving: What the level hands on, [R, W] together.
        rows: Which of the level's rows these are, [R].
        sink: The sink, where the layer is a module.
    """

    number: int
    leaving: list[Tensor] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    sink: Sink | None = None

    @property
    def leaves(self) -> list[Tensor]:
        """What a backward pass that is to end here asks for."""
        return self.leaving if self.sink is None else [self.sink.anchor]


@dataclass(frozen=True, eq=False)
class Cut:
    """A graph in which every site is cut.

    Attributes:
        output: What is explained, [1].
        arriving: What arrives at each site.
        parts: What goes out of those that anything flows through.
        reads: The leaves that relevance is read at.
        forward: The forward pass.
    """

    output: Tensor
    arriving: list[list[Arrived]]
    parts: list[Part]
    reads: dict[str, Tensor]
    forward: Forward


class _Cutting(Visitor):
    """Cuts before and behind each layer."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.begin()

    def begin(self) -> None:
        self.arriving: list[list[Arrived]] = [[] for _ in range(self.count)]
        self.parts: dict[int, Part] = {}

    def act(self, number: int, x: Tensor, rows: Rows) -> Tensor | None:
        arriving = self.arriving[number]
        first = sum(arrived.rows for arrived in arriving)
        if not carries(x) or not len(x):
            arriving.append(Arrived(None, len(x)))
            return None
        # A view is a step of the graph even where x is a leaf.
        arriving.append(Arrived(get_gradient_edge(x.view_as(x)), len(x)))
        leaf = x.detach().clone()
        leaf.requires_grad = True  # not requires_grad_, which scopes leave
        part = self.parts.setdefault(number, Part(number))
        part.leaving.append(leaf)
        part.rows += range(first, first + len(x))
        return leaf.clone()  # which a model may overwrite

    def after(self, number: int, y: Tensor) -> Tensor:
        part = self.parts.get(number)
        # What also goes by the site, as a residual does, must not end here.
        if part is None or not carries(y) or not _made_of(y, part.leaving):
            return y
        part.sink = Sink(f"nodes {number}", y)
        return part.sink.joined()


def _made_of(y: Tensor, leaves: Sequence[Tensor]) -> bool:
    """Tell whether nothing but some leaves, and constants, made a tensor."""
    own, seen, stack = set(map(id, leaves)), set(), [y.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if variable is not None and id(variable) not in own:
            return False
        stack += [parent for parent, _ in node.next_functions]
    return True


@contextmanager
def cut(
    subject: Subject, lrp: Instrumentation, example: Example, sites: Sequence[Site]
) -> Generator[Cut]:
    """Run forward with every site cut.

    Args:
        subject: The instrumented model.
        lrp: Its instrumentation.
        example: The example.
        sites: Where nodes stand.

    Yields:
        The graph.
    """
    store = _Cutting(len(sites))
    with run_twin(subject, lrp, example, sites, store) as forward:
        scalar = select_target(subject, forward, example.target).scalar
        check_output(subject, forward.call, scalar)
        parts = [part for _, part in sorted(store.parts.items())]
        for part in parts:
            if part.sink is not None:
                part.sink.collector = forward.collector
        yield Cut(scalar, store.arriving, parts, forward.reads, forward)
