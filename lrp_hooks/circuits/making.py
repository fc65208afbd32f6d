"""How tensors are made, noted while functions run: by what a call shows, not by names.

A note goes with a tensor: it is a weight's, what a linear layer returned, what was made
of that element by element, or what attention weights have mixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..attribution.heads import mark_weights, mixing_order
from ..engine.composite import is_composite, opened
from ..engine.functions import FUSED, PRODUCTS, in_place, spellings
from ..engine.nested import all_tensors

__all__ = [
    "ACTIVE",
    "LINEAR",
    "MIXED",
    "Made",
    "Maker",
    "Slot",
    "first_factor",
    "slot_of",
]

_WEIGHT, _LINEAR, ACTIVE, MIXED = "weight", "linear", "active", "mixed"

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
    first = first_factor(func, args)
    shapes = [tuple(a.shape) for a in args[first : first + 2]]
    plain = func in _ALWAYS or len(shapes[1]) == 2
    kind = (func.__name__, *(shapes[1:] if plain else shapes))
    counts[kind] = counts.get(kind, 0) + 1
    return (*kind, counts[kind])


def first_factor(func: Any, args: Sequence[Any]) -> int:
    """Return the place of the first factor among a product's arguments.

    Args:
        func: The function.
        args: Its arguments.

    Returns:
        1 behind a summand or an equation, else 0.
    """
    return 1 if func in _WITH_SUMMAND or isinstance(args[0], str) else 0


@dataclass
class Made:
    """How a tensor was made.

    Attributes:
        how: One of the above; ``""`` if nothing is known.
        heads: How many there are in what was mixed.
        used: Who took it for the input of a linear layer.
    """

    how: str
    heads: int | None = None
    used: object = None


def _places(func: Any, args: Sequence[Any]) -> tuple[int, int] | None:
    """Return the places of a linear layer's input and weight, if it is one."""
    if func not in LINEAR:
        return None
    first = first_factor(func, args)
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
            made = made_of(args[places[0]])
            self.tell(made, places, func, args, kwargs)
        result = self.call(func, args, kwargs)
        _note(func, args, result, places is not None)
        return result

    def call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a function."""
        return func(*args, **kwargs)


def _note(func: Any, args: Any, result: Any, linear: bool) -> None:
    made = Made(_LINEAR) if linear else None
    if not linear and isinstance(result, Tensor):
        if mark_weights(func, args, result):
            return
        made = _mixed(func, args, result)
    if made is None and (func in _MAKES or func in _MOVES):
        made = _inherited(args, active=func in _MAKES)
    if made is None and in_place(func):
        made = Made("")  # what was known is overwritten
    if made is not None:
        for tensor in all_tensors(result):
            tensor._lrp_made = made  # type: ignore[attr-defined]


def made_of(value: Any) -> Made:
    """Return how a tensor was made.

    Args:
        value: Anything.

    Returns:
        The note.
    """
    found = getattr(value, "_lrp_made", None)
    return found if isinstance(found, Made) else Made("")


def note_linear(output: Any) -> None:
    """Note what a linear layer returned.

    Args:
        output: Its output.
    """
    for tensor in all_tensors(output):
        tensor._lrp_made = Made(_LINEAR)  # type: ignore[attr-defined]


def _how(value: Any) -> str:
    if isinstance(value, nn.Parameter):
        return _WEIGHT
    return made_of(value).how


def _mixed(func: Any, args: Any, result: Tensor) -> Made | None:
    """Note heads where attention weights have met values, of one example."""
    if func in FUSED:
        shape = list(result.shape)
    elif func in PRODUCTS and (order := mixing_order(args, result)) is not None:
        shape = [result.shape[i] for i in order]
    else:
        return None
    return Made(MIXED, shape[1] if len(shape) == 4 else shape[0])


def _inherited(args: Any, active: bool) -> Made | None:
    """Note what was made, element by element, of things that were noted."""
    floats = [a for a in all_tensors(args) if a.is_floating_point()]
    known = {_how(a): made_of(a) for a in floats}
    if MIXED in known:
        return known[MIXED]
    if set(known) == {_WEIGHT}:
        return Made(_WEIGHT)
    # A norm's weight or a bias, a number of no dimension, are no signals.
    signals = {_how(a) for a in floats if a.ndim > 1} - {_WEIGHT}
    if not signals or not signals <= {_LINEAR, ACTIVE}:
        return None
    kept = next(m for m in known.values() if m.how in signals)
    return Made(ACTIVE) if active else kept
