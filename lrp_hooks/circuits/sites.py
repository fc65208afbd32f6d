"""Where a model's neurons and heads stand, found by what a call shows.

A neuron is a column of what enters a linear layer whose input was made element by
element (an activation, a gated product) from what other linear layers returned. A head
is a group of columns of what enters a linear layer after attention weights mixed
values. Tensors carry a note of how they were made while a plain forward pass runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..attribution.heads import mark_weights, mixing_order
from ..engine.composite import is_composite, opened
from ..engine.functions import FUSED, PRODUCTS, spellings
from ..engine.nested import all_tensors, first_tensor
from ..engine.subject import Subject
from ..engine.undo import undoing

__all__ = [
    "HEAD",
    "LINEAR",
    "NEURON",
    "Maker",
    "Site",
    "Slot",
    "find_sites",
    "slot_of",
]

NEURON, HEAD = "neuron", "head"

_WEIGHT, _LINEAR, _ACTIVE, _MIXED = "weight", "linear", "active", "mixed"

_ALWAYS = frozenset(spellings("linear _grouped_mm _addmm_activation"))
"""What multiplies by a weight and nothing else."""
_MAYBE = PRODUCTS | frozenset(spellings("mm addmm baddbmm"))
_WITH_SUMMAND = frozenset(spellings("addmm baddbmm"))
LINEAR = _ALWAYS | _MAYBE
"""What may be a linear layer."""
_MOVES = frozenset(
    spellings("""
        contiguous clone to type type_as float double half bfloat16 dropout view reshape
        flatten unflatten unsqueeze squeeze expand transpose permute swapaxes movedim
        chunk split tensor_split unbind narrow __getitem__ select index_select detach
        masked_fill nan_to_num where t cat add sub __add__ __sub__ __radd__ __iadd__
        repeat_interleave
    """)
)
"""What leaves a note as it is: other places, a bias."""
_MAKES = frozenset(
    spellings("""
        relu relu6 gelu silu mish tanh elu selu celu leaky_relu hardtanh hardswish
        softplus prelu sigmoid hardsigmoid log_sigmoid softsign erf exp pow square sqrt
        mul multiply div true_divide neg clamp clamp_min clamp_max maximum minimum abs
        glu threshold rrelu addcmul
        __mul__ __rmul__ __imul__ __truediv__ __pow__ __rpow__ __neg__
    """)
)
"""What works element by element."""


Slot = tuple[Any, ...]
"""A function with the shapes of its factors, and how many such came before."""


def slot_of(func: Any, args: Sequence[Any], counts: dict[Any, int]) -> Slot:
    """Tell a linear function from the others that a module calls.

    Args:
        func: The function.
        args: Its arguments.
        counts: How many such came before, which is counted on.

    Returns:
        The same in every run of the module on the same inputs; for a plain linear
        layer, on any.
    """
    first = _first_factor(func, args)
    shapes = [tuple(a.shape) for a in args[first : first + 2]]
    kind = (func.__name__, *(shapes[1:] if func in _ALWAYS else shapes))
    counts[kind] = counts.get(kind, 0) + 1
    return (*kind, counts[kind])


def _first_factor(func: Any, args: Sequence[Any]) -> int:
    return 1 if func in _WITH_SUMMAND or isinstance(args[0], str) else 0


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
    """

    kind: str
    module: str
    call: int = 0
    heads: int | None = None
    inside: Slot | None = None


@dataclass
class _Made:
    """How a tensor was made."""

    how: str
    heads: int | None = None
    used: Site | None = None


@dataclass
class _Frame:
    """A running module: its name, its call, and the first float it was given."""

    name: str
    call: int
    given: Tensor | None
    counts: dict[Any, int] = field(default_factory=dict)


def _places(func: Any, args: Sequence[Any]) -> tuple[int, int] | None:
    """Return the places of a linear layer's input and weight, if it is one."""
    if func not in LINEAR:
        return None
    first = _first_factor(func, args)
    if len(args) < first + 2:
        return None
    if func in _ALWAYS:
        return 0, 1
    weights = [_how(args[first + i]) == _WEIGHT for i in range(2)]
    if weights[0] == weights[1]:
        return None
    return (first, first + 1) if weights[1] else (first + 1, first)


class Maker(TorchFunctionMode):
    """Notes how tensors are made, and tells of linear layers."""

    def __init__(self, tell: Callable[..., None]) -> None:
        """Start to note.

        Args:
            tell: Called before every linear function with how its input was made, the
                places of input and weight, the function and its arguments.
        """
        super().__init__()
        self.tell = tell
        self.opening: list[Any] = []

    def __torch_function__(  # noqa: PLW3201
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function, and note how its result was made."""
        kwargs = kwargs or {}
        if is_composite(func) and func not in self.opening:
            self.opening.append(func)
            try:
                with self:
                    return opened(func)(*args, **kwargs)
            finally:
                self.opening.pop()
        places = _places(func, args)
        if places is not None:
            made = getattr(args[places[0]], "_lrp_made", _Made(""))
            self.tell(made, places, func, args, kwargs)
        result = self.call(func, args, kwargs)
        _note(func, args, result, places is not None)
        return result

    def call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a function."""
        return func(*args, **kwargs)


def _note(func: Any, args: Any, result: Any, linear: bool) -> None:
    made = _Made(_LINEAR) if linear else None
    if not linear and isinstance(result, Tensor):
        if mark_weights(func, args, result):
            return
        made = _mixed(func, args, result)
    if made is None and (func in _MAKES or func in _MOVES):
        made = _inherited(args, active=func in _MAKES)
    if made is not None:
        for tensor in all_tensors(result):
            tensor._lrp_made = made  # type: ignore[attr-defined]


def _how(value: Any) -> str:
    if isinstance(value, nn.Parameter):
        return _WEIGHT
    return getattr(value, "_lrp_made", _Made("")).how


def _mixed(func: Any, args: Any, result: Tensor) -> _Made | None:
    """Note heads where attention weights have met values, of one example."""
    if func in FUSED:
        shape = list(result.shape)
    elif func in PRODUCTS and (order := mixing_order(args, result)) is not None:
        shape = [result.shape[i] for i in order]
    else:
        return None
    return _Made(_MIXED, shape[1] if len(shape) == 4 else shape[0])


def _inherited(args: Any, active: bool) -> _Made | None:
    """Note what was made, element by element, of things that were noted."""
    floats = [a for a in all_tensors(args) if a.is_floating_point()]
    known = {_how(a): getattr(a, "_lrp_made", None) for a in floats}
    if _MIXED in known:
        return known[_MIXED]
    if set(known) == {_WEIGHT}:
        return _Made(_WEIGHT)
    # A norm's weight or a bias, a number of no dimension, are no signals.
    signals = {_how(a) for a in floats if a.ndim > 1} - {_WEIGHT}
    if not signals or not signals <= {_LINEAR, _ACTIVE}:
        return None
    kept = next(m for m in known.values() if m and m.how in signals)
    return _Made(_ACTIVE) if active else kept


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
    return list(dict.fromkeys(finder.sites))


class _Finder:
    """Collects sites while modules run."""

    def __init__(self) -> None:
        self.frames: list[_Frame] = []
        self.calls: dict[str, int] = {}
        self.sites: list[Site] = []

    def hooks(self, name: str) -> tuple[Callable[..., None], Callable[..., None]]:
        """Return the hooks before and after a module."""

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            call = self.calls.get(name, 0)
            self.calls[name] = call + 1
            given = first_tensor((args, kwargs), torch.Tensor.is_floating_point)
            self.frames.append(_Frame(name, call, given))

        def after(*_: object) -> None:
            self.frames.pop()

        return before, after

    def found(
        self, made: _Made, places: Sequence[int], func: Any, args: Any, kwargs: Any
    ) -> None:
        """Note a linear function that takes neurons or heads."""
        slots = [slot_of(func, args, frame.counts) for frame in self.frames]
        if made.how not in {_ACTIVE, _MIXED} or not self.frames:
            return
        kind = NEURON if made.how == _ACTIVE else HEAD
        own = [f for f in self.frames if _is(f.given, args[places[0]])]
        if made.used is not None and own:
            # A second layer that takes the same, as an adapter's: they share a site.
            shared = Site(kind, own[0].name, own[0].call, made.heads)
            self.sites = [shared if s == made.used else s for s in self.sites]
            made.used = shared
            return
        frame = own[-1] if own else self.frames[-1]
        slot = None if own else slots[-1]
        if kind == NEURON and slot:
            slot = ("experts",)
        made.used = Site(kind, frame.name, frame.call, made.heads, slot)
        self.sites.append(made.used)


def _is(given: Tensor | None, x: Tensor) -> bool:
    """Tell whether a function takes what its module was given, in whatever shape."""
    return (
        given is not None
        and given.numel() == x.numel()
        and given.data_ptr() == x.data_ptr()
    )
