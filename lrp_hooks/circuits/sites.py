"""Where a model's neurons and heads stand, found by what a call shows.

A neuron is a column of what enters a linear layer whose input was made element by
element (an activation, a gated product) from what other linear layers returned. A head
is a group of columns of what enters a linear layer after attention weights mixed
values. Tensors carry a note of how they were made while a plain forward pass runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.nested import first_tensor
from ..engine.subject import Subject
from ..engine.undo import undoing
from .making import ACTIVE, MIXED, Made, Maker, Slot, made_of, note_linear, slot_of

__all__ = ["EXPERTS", "HEAD", "NEURON", "Site", "find_sites"]

NEURON, HEAD = "neuron", "head"
EXPERTS: Slot = ("experts",)
"""What stands for every linear function whose weights are in three dimensions."""


@dataclass(frozen=True)
class Site:
    """What enters a linear layer, in one call of it.

    Attributes:
        kind: ``"neuron"`` or ``"head"``.
        module: The qualified name of the layer; of the module whose function it is
            where it is no module of its own.
        call: Which call of the module in a forward pass, 0 for the first.
        heads: How many there are; None for neurons.
        inside: The function inside the module that is the layer, if one is.
        layer: Its number among the sites of its kind.
    """

    kind: str
    module: str
    call: int = 0
    heads: int | None = None
    inside: Slot | None = None
    layer: int = 0


@dataclass
class _Frame:
    """A running module: its name, its call, and the first float it was given."""

    name: str
    module: nn.Module
    call: int
    given: Tensor | None
    counts: dict[Any, int] = field(default_factory=dict)


def find_sites(subject: Subject, run: Callable[[], object]) -> list[Site]:
    """Find the neurons and heads of a plain forward pass of one example.

    Args:
        subject: The model.
        run: Runs it.

    Returns:
        The sites in the order in which they ran.
    """
    finder = _Finder()
    with undoing() as undo, torch.no_grad():
        for name, module in subject.modules.items():
            before, after = finder.hooks(name)
            undo.hook(module, "forward_pre_hook", before, with_kwargs=True)
            undo.hook(module, "forward_hook", after, always_call=True)
        with Maker(finder.found):
            run()
    placed = [site for site in finder.sites if site not in finder.pooled]
    kinds = {site.kind for site in placed}
    # A classifier's neurons, at no position, are nodes where there are no others.
    found = [s for s in finder.sites if s in placed or s.kind not in kinds]
    return _numbered(dict.fromkeys(found))


def _numbered(sites: Iterable[Site]) -> list[Site]:
    counts: dict[str, int] = {}
    numbered = []
    for site in sites:
        layer = counts[site.kind] = counts.get(site.kind, -1) + 1
        numbered.append(replace(site, layer=layer))
    return numbered


class _Finder:
    """Collects sites while modules run."""

    def __init__(self) -> None:
        self.frames: list[_Frame] = []
        self.calls: dict[str, int] = {}
        self.sites: list[Site] = []
        self.pooled: set[Site] = set()

    def hooks(self, name: str) -> tuple[Callable[..., None], Callable[..., None]]:
        """Return the hooks before and after a module."""

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            call = self.calls.get(name, 0)
            self.calls[name] = call + 1
            given = first_tensor((args, kwargs), torch.Tensor.is_floating_point)
            self.frames.append(_Frame(name, module, call, given))

        def after(module: nn.Module, args: Any, output: Any) -> None:
            frame = self.frames.pop()
            if not frame.counts and _is_linear(module) and frame.given is not None:
                self._note_kernel(frame, output)

        return before, after

    def _note_kernel(self, frame: _Frame, output: Any) -> None:
        """Note a linear layer whose kernel no mode sees, as a quantised one's."""
        made = made_of(frame.given)
        if made.how in {ACTIVE, MIXED}:
            kind = NEURON if made.how == ACTIVE else HEAD
            self._add(Site(kind, frame.name, frame.call, made.heads), frame.given)
        note_linear(output)

    def found(
        self, made: Made, places: Sequence[int], func: Any, args: Any, kwargs: Any
    ) -> None:
        """Note a linear function that takes neurons or heads."""
        slots = [slot_of(func, args, frame.counts) for frame in self.frames]
        if made.how not in {ACTIVE, MIXED} or not self.frames:
            return
        kind = NEURON if made.how == ACTIVE else HEAD
        own = [f for f in self.frames if _is(f.given, args[places[0]])]
        if made.used is not None and own:
            # A second layer that takes the same, as an adapter's: they share a site.
            shared = Site(kind, own[0].name, own[0].call, made.heads)
            self.sites = [shared if s == made.used else s for s in self.sites]
            made.used = shared
            return
        frame = own[-1] if own else self.frames[-1]
        slot = None if own else slots[-1]
        if slot and any(p.ndim > 2 for p in frame.module.parameters(recurse=False)):
            slot = EXPERTS
        made.used = Site(kind, frame.name, frame.call, made.heads, slot)
        self._add(made.used, frame.given)

    def _add(self, site: Site, given: Tensor | None) -> None:
        self.sites.append(site)
        if given is not None and given.ndim == 2 and len(given) == 1:
            self.pooled.add(site)


def _is_linear(module: nn.Module) -> bool:
    """Tell linear layers of any library, which call themselves so."""
    return "Linear" in {base.__name__ for base in type(module).__mro__}


def _is(given: Tensor | None, x: Tensor) -> bool:
    """Tell whether a function takes what its module was given, in whatever shape."""
    return (
        given is not None
        and given.numel() == x.numel()
        and given.data_ptr() == x.data_ptr()
    )
