"""A forward pass in which every linear layer begins anew, so that mixing stands alone.

What linear layers return, what attention weights mixed and what a block is given are
leaves: the graph behind what a layer takes then ends at the values of the layer before
it, and B, C, keys, decays and gates of linear layers of their own are constants.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.nested import first_tensor, replace_first
from ..engine.ruleset import RuleSet
from ..engine.subject import Subject
from ..engine.undo import Undo
from ..errors import UnsupportedModelError
from .aligning import find_mixers
from .blocks import block_lists
from .mixing import Mixer, Sink, Source

__all__ = ["Unrolling", "beginning", "twin"]


_COARSE = {torch.bfloat16, torch.float16}


def twin() -> RuleSet:
    """Return the rules of the twin: gates frozen, products with constants plain."""
    plain = RuleSet.named("gradient").product
    return RuleSet.named("conservative").override(product=plain)


def beginning(x: Tensor) -> tuple[Tensor, Tensor]:
    """Cut a graph.

    Args:
        x: Any tensor.

    Returns:
        A leaf with its values, and what goes on, which a model may overwrite.
    """
    leaf = x.detach().clone()
    leaf.requires_grad = True  # not requires_grad_, which scopes leave
    return leaf, leaf.clone()


def _is_float(x: Tensor) -> bool:
    return x.is_floating_point() and x.ndim > 2


def _is_sink(module: nn.Module) -> bool:
    """Tell layers that mixing may end at: those with weights, but convolutions."""
    whole = next(module.children(), None) is None
    weighs = next(module.parameters(), None) is not None
    return whole and weighs and not isinstance(module, nn.modules.conv._ConvNd)


def _is_linear(module: nn.Module) -> bool:
    """Tell linear layers of any library: a table of weights, or their name."""
    named = "Linear" in {base.__name__ for base in type(module).__mro__}
    return named or getattr(getattr(module, "weight", None), "ndim", 0) == 2


class Unrolling:
    """Notes where mixing may start and end in the blocks of a model, in one thread."""

    def __init__(self, subject: Subject, events: list[Any], undo: Undo) -> None:
        """Watch a model.

        Args:
            subject: The instrumented model.
            events: Where what runs is noted in order, by others too.
            undo: Takes the hooks off.
        """
        self.thread = threading.get_ident()
        self.events = events
        self.sources: dict[str, list[Source]] = {}
        self.sinks: dict[str, list[Sink]] = {}
        self.calls: dict[str, int] = {}
        undo.hook(subject.model, "forward_pre_hook", self._start)
        lists = block_lists(subject)
        members = {name: m for found in lists for name, m in found.items()}
        for name, block in (members or {"": subject.model}).items():
            self._watch(name, block, undo)

    def _start(self, *_: object) -> None:
        """Forget an earlier run: the model may run again to find what is read."""
        if threading.get_ident() == self.thread:
            for kept in (self.events, self.sources, self.sinks, self.calls):
                kept.clear()

    def _watch(self, block: str, module: nn.Module, undo: Undo) -> None:
        undo.hook(module, "forward_pre_hook", self._given(block), with_kwargs=True)
        prefix = f"{block}." if block else ""
        for inner, part in module.named_modules():
            if inner and _is_sink(part):
                name = prefix + inner
                before = self._before(block, name)
                undo.hook(part, "forward_pre_hook", before, with_kwargs=True)
                after = self._after(block, name, _is_linear(part))
                undo.hook(part, "forward_hook", after)

    def _given(self, block: str) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> Any:
            value = self._value((args, kwargs))
            if value is None:
                return None
            leaf, fresh = beginning(value)
            self._note(block, block, leaf, projected=False)
            return replace_first((args, kwargs), value, fresh)

        return hook

    def _before(self, block: str, name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> Any:
            value = self._value((args, kwargs))
            call = self.calls[name] = self.calls.get(name, -1) + 1
            if value is None:
                return None
            kept = value.clone()
            sink = Sink(name, call, kept, len(self.events), block)
            self.events.append(sink)
            self.sinks.setdefault(block, []).append(sink)
            return replace_first((args, kwargs), value, kept.clone())

        return hook

    def _after(self, block: str, name: str, linear: bool) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            value = self._value(output)
            if value is None:
                return None
            if linear:
                kept, fresh = beginning(value)
            else:
                kept = value.clone()
                fresh = kept.clone()
            self._note(block, name, kept, linear)
            return replace_first(output, value, fresh)

        return hook

    def _value(self, given: Any) -> Tensor | None:
        if threading.get_ident() != self.thread:
            return None
        return first_tensor(given, _is_float)

    def _note(self, block: str, name: str, tensor: Tensor, projected: bool) -> None:
        source = Source(name, tensor, len(self.events), projected)
        self.events.append(source)
        self.sources.setdefault(block, []).append(source)

    def mixers(self) -> tuple[dict[int, Mixer], list[str]]:
        """Find what mixes tokens.

        Returns:
            The layers, by their place among the events; and the names of modules that
            take tokens mixed by constant weights.

        Raises:
            UnsupportedModelError: If a block mixes tokens in a way that is no map.
        """
        found: dict[int, Mixer] = {}
        fixed: list[str] = []
        missing: list[str] = []
        for block, sinks in self.sinks.items():
            mixers, left = find_mixers(self.sources.get(block, []), sinks)
            missing += [sink.module for sink in left]
            fixed += [m.sink.module for m in mixers if m.fixed]
            found.update({m.sink.order: m for m in mixers if not m.fixed})
        if missing:
            raise UnsupportedModelError(
                f"tokens are mixed ahead of {', '.join(dict.fromkeys(missing))} by no "
                "softmax, and not channel by channel, so that there is no map of it "
                "and maps of the other layers would leave it out. Use a method that "
                "needs none, such as 'lrp'."
            )
        if any(m.sink.tensor.dtype in _COARSE for m in found.values()):
            raise UnsupportedModelError(
                "layers that mix tokens without a softmax are told apart by gradients, "
                "for which half precision is too coarse; read the maps of "
                "model.float()."
            )
        return found, fixed
