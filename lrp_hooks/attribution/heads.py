"""Latent relevance: what attention heads contributed, whatever the implementation.

A head's output is what its attention weights mix, sum_k p_qk v_k, before the output
projection. It is found where a softmax's result meets the values, so that it is read
alike in models whose attention module returns it (BERT), projects it (Llama, GPT-2) or
never shows it (``nn.MultiheadAttention``).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..engine.functions import FUSED, MOVES, PRODUCTS, SOFTMAX
from ..engine.runtime import Runtime
from ..engine.scope import Scope
from ..engine.sharding import gathered
from ..engine.sources import SourceCollector
from ..engine.splicing import splice
from ..engine.subject import Subject
from ..engine.surroundings import Frame
from ..errors import ArgumentError, UnsupportedModelError
from ..results.relevance import Relevance

__all__ = [
    "HEADS",
    "heads",
    "heads_inside",
    "is_weights",
    "mark_weights",
    "mixing_order",
    "watched_heads",
]

HEADS = "heads"
"""The name in ``layers=`` of every head; ``"<module>.heads"`` for those inside one."""
_SUFFIX = f".{HEADS}"


def heads(relevance: Relevance, by_position: bool = False) -> dict[str, Tensor]:
    """Sum relevance by attention head.

    The heads of a layer together have the relevance that enters its output projection;
    with what a projection's bias keeps, they have that of the projection's output.

    Args:
        relevance: What `Instrumentation.attribute` returned, asked for with
            ``layers="heads"``, or ``layers="<module>.heads"`` for a part of the model.
        by_position: Keep the positions, those of the queries.

    Returns:
        ``{attention module: [B, H]}``, or [B, H, T] by position, in the order in which
        they ran. H counts query heads. A module that attends again is named
        ``"<module>:2"``.

    Raises:
        ArgumentError: If the relevance holds no heads.
    """
    layers = relevance.layers if isinstance(relevance, Relevance) else {}
    found = {_module(name): v for name, v in layers.items() if _is_heads(name, v)}
    if not found:
        had = f"layers {', '.join(map(repr, layers))}" if layers else "no layers"
        raise ArgumentError(
            f"relevance must hold heads, got {type(relevance).__name__} with {had}; "
            f"ask for them: heads(lrp.attribute(inputs, layers={HEADS!r}))."
        )
    dims = -1 if by_position else (-2, -1)
    return {name: value.sum(dims) for name, value in found.items()}


def _is_heads(name: str, value: Tensor) -> bool:
    stem = name.rpartition(":")[0] or name
    return (stem == HEADS or stem.endswith(_SUFFIX)) and value.ndim == 4


def _module(name: str) -> str:
    """Return the module in ``"<module>.heads"`` and ``"<module>.heads:2"``."""
    stem, _, again = name.partition(f"{HEADS}:")
    stem = stem.removesuffix(HEADS).removesuffix(".")
    return f"{stem}:{again}" if again else stem


def heads_inside(subject: Subject, name: object) -> str | None:
    """Read a name in ``layers=`` that stands for heads.

    Args:
        subject: The model. A module that is called ``heads`` itself is a module.
        name: The name.

    Returns:
        The module whose heads are asked for, "" for all; None where it stands for
        something else.
    """
    if not isinstance(name, str) or name in subject.modules:
        return None
    if name != HEADS and not name.endswith(_SUFFIX):
        return None
    module = name.removesuffix(HEADS).removesuffix(".")
    subject.module("layers", module)
    return module


@contextmanager
def watched_heads(
    subject: Subject,
    runtime: Runtime,
    collector: SourceCollector,
    asked: Sequence[str],
) -> Generator[dict[str, Tensor]]:
    """Watch the heads of a forward pass.

    Args:
        subject: The instrumented model.
        runtime: What its hooks share.
        collector: Where the pass enters its sources.
        asked: Modules whose heads are asked for, "" for all.

    Yields:
        ``{"<attention module>.heads": [B, H, T, D]}``, complete at the end.
    """
    scope = _HeadScope(runtime, collector, asked)
    # The model's own call enters this scope, since it is open already.
    scope.enter(Frame(subject.model, "", {}, leaf=False))
    try:
        yield scope.seen
    finally:
        runtime.abandon()
    runtime.settled()
    _check_found(scope.seen, asked)


def _inside(module: str, name: str) -> bool:
    return not name or module == name or module.startswith((f"{name}.", f"{name}:"))


def _check_found(seen: Mapping[str, Tensor], asked: Sequence[str]) -> None:
    for name in asked:
        if not any(_inside(_module(found), name) for found in seen):
            raise ArgumentError(
                f"layers={f'{name}.{HEADS}'.removeprefix('.')!r} asks for the "
                f"attention heads in {name or 'the model'}, but no softmax mixed "
                "values there; name modules whose output to read instead."
            )


class _HeadScope(Scope):
    """Sees attention weights mix values, after the rules have had their say."""

    def __init__(
        self, runtime: Runtime, collector: SourceCollector, asked: Sequence[str]
    ) -> None:
        super().__init__(runtime.surroundings, collector)
        self.batch = collector.batch
        self.asked = asked
        self.seen: dict[str, Tensor] = {}

    def enter(self, frame: Frame, idle: bool = False) -> None:
        if len(self.frames) == 1:
            self.seen.clear()  # the model may be run again to find what is read
        super().enter(frame, idle)

    def __torch_function__(  # noqa: PLW3201
        self,
        func: Callable[..., Any],
        types_: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = super().__torch_function__(func, types_, args, kwargs)
        ours = self._open[-1] is self and not self.in_leaf
        if not ours or not isinstance(result, Tensor):
            return result
        if mark_weights(func, args, result):
            return result
        if func in FUSED:
            return self._read(result, range(result.ndim))
        if func in PRODUCTS and (order := mixing_order(args, result)) is not None:
            return self._read(result, order)
        return result

    def _read(self, mixed: Tensor, order: Sequence[int]) -> Tensor:
        """Watch the heads' output, and hand on the same with its own layout."""
        module = _attending(self.frames[-1])
        if not any(_inside(module, name) for name in self.asked):
            return mixed

        def by_head(values: Tensor) -> Tensor:
            return _unfolded(values.permute(*order), self.batch, module)

        name = self._name(f"{module}.{HEADS}" if module else HEADS)
        share = self.collector.share_of(mixed) if self.collector else None

        def every(values: Tensor) -> Tensor:  # heads may be spread over ranks
            heads = by_head(values)
            return heads if share is None else gathered(heads, share.along(1))

        self.seen[name] = every(mixed).clone()
        return splice(mixed.detach().clone(), self.seen[name], every)

    def _name(self, name: str) -> str:
        again = sum(n == name or n.startswith(f"{name}:") for n in self.seen)
        return f"{name}:{again + 1}" if again else name


def _attending(frame: Frame) -> str:
    """Name the module that attends: nn.TransformerEncoderLayer keeps hooks out."""
    if not isinstance(frame.module, nn.TransformerEncoderLayer):
        return frame.name
    return f"{frame.name}.self_attn".removeprefix(".")


def is_weights(value: object) -> bool:
    """Tell attention weights, which a softmax made.

    Args:
        value: Anything that a function was called with.

    Returns:
        True for a tensor that was marked by `mark_weights`.
    """
    return getattr(value, "_lrp_weights", False)


def mark_weights(func: Callable[..., Any], args: tuple[Any, ...], out: Tensor) -> bool:
    """Mark what a softmax returned, and what was made of that on the way to values.

    Args:
        func: The function.
        args: Its arguments.
        out: What it returned.

    Returns:
        Whether these are attention weights.
    """
    found = func in SOFTMAX or (func in MOVES and any(map(is_weights, args)))
    if found:
        out._lrp_weights = True  # type: ignore[attr-defined]
    return found


def mixing_order(args: tuple[Any, ...], mixed: Tensor) -> Sequence[int] | None:
    """Return a product's dimensions in the order of its weights, heads second.

    Args:
        args: The arguments of a product.
        mixed: What it returned.

    Returns:
        The dimensions; None where no factor is attention weights.
    """
    equation = args[0].replace(" ", "") if isinstance(args[0], str) else ""
    factors = args[1:] if equation else args[:1]  # weights @ values, not the reverse
    if len(factors) == 1 and isinstance(factors[0], list | tuple):
        factors = tuple(factors[0])
    places = [i for i, f in enumerate(factors) if is_weights(f) and f.ndim > 2]
    if not places:
        return None
    terms, _, output = equation.partition("->")
    letters = terms.split(",")[places[0]]
    kept = [output.index(letter) for letter in letters if letter in output]
    return [*kept, *(i for i in range(mixed.ndim) if i not in kept)]


def _unfolded(mixed: Tensor, batch: int, module: str) -> Tensor:
    """Return [B, H, T, D] where heads, or windows of tokens, fold into the batch."""
    if mixed.ndim not in {3, 4} or len(mixed) % batch:
        raise UnsupportedModelError(
            f"{module or 'the model'} mixes values into {tuple(mixed.shape)}, in which "
            f"the heads of {batch} examples cannot be told apart; name other modules."
        )
    mixed = mixed.reshape(batch, -1, *mixed.shape[1:])
    return mixed if mixed.ndim == 4 else mixed.transpose(1, 2).flatten(2, 3)
