"""Forward passes whose attention is recorded: softmax maps, and layers to unroll."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..engine.acceptance import Key
from ..engine.autograd import carries
from ..engine.nested import first_tensor, replace_first
from ..engine.rule import Rule
from ..engine.sources import SourceCollector
from ..engine.subject import Subject
from ..engine.undo import undoing
from ..errors import UnsupportedModelError
from ..results.attention_maps import AttentionMap
from .inputs import Call
from .instrument import instrument
from .mixing import Mixer
from .passes import Request, forward_pass, prepared
from .softmax_maps import SoftmaxMap, SoftmaxRecorder
from .unrolling import Unrolling, beginning, twin

__all__ = ["Recorded", "UnrolledMap", "record_maps"]


@dataclass(eq=False)
class UnrolledMap:
    """A layer that mixes tokens without a softmax; its map is made when asked for.

    Attributes:
        mixer: The layer.
        handle: What it mixed to, in a graph of the plain model.
    """

    mixer: Mixer
    handle: Tensor = field(init=False)

    @property
    def module(self) -> str:
        """The qualified name of the layer."""
        return self.mixer.module

    def shape(self, batch: int) -> tuple[int, int, int]:
        """Return ``(B, Q, K)``."""
        length = self.mixer.sink.tensor.shape[1]
        return len(self.mixer.sink.tensor), length, length

    def seen(self, batch: int) -> AttentionMap:
        """Return the map that is shown."""
        weights = self.mixer.weights()
        n_heads = _count_heads(weights)
        weights = weights[:, :: weights.shape[1] // n_heads].contiguous()
        values, output = (
            _by_head(x, n_heads) for x in (self.mixer.values, self.mixer.output)
        )
        return AttentionMap(self.module, weights, "implicit", values, output)

    def gradient(self, grad: Tensor, seen: AttentionMap) -> Tensor:
        """Return the gradient of the map that is shown, given that of `handle`."""
        assert seen.values is not None
        flat = grad.reshape(*grad.shape[:2], -1)[..., self.mixer.mixed]
        return _by_head(flat, seen.values.shape[1]) @ seen.values.mT


def _by_head(x: Tensor, heads: int) -> Tensor:
    """Return [B, H, T, D] of [B, T, E]."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def _count_heads(weights: Tensor) -> int:
    """Count groups of neighbouring channels, as many in each, that share a map."""
    channels = weights.shape[1]
    last = weights[:, :, -1]
    near = torch.finfo(weights.dtype).eps ** 0.75 * weights.abs().amax()
    new = ((last[:, 1:] - last[:, :-1]).abs().amax((0, 2)) > near).nonzero()[:, 0]
    n_heads = len(new) + 1
    if n_heads == channels or channels % n_heads:
        return channels
    groups = weights.view(len(weights), n_heads, -1, *weights.shape[2:])
    gap = (groups - groups[:, :, :1]).abs().amax()
    return n_heads if bool(gap <= near) else channels


@dataclass(frozen=True, eq=False)
class Recorded:
    """A forward pass with its maps.

    Attributes:
        maps: One a layer, in the order in which they ran.
        output: What the model returned.
        call: How it was called.
        fixed: See `AttentionMaps`.
    """

    maps: tuple[SoftmaxMap | UnrolledMap, ...]
    output: Any
    call: Call
    fixed: tuple[str, ...] = field(default=())

    @property
    def attended(self) -> Tensor | None:
        """Boolean [B, T], or None."""
        mask = self.call.mask
        return None if mask is None else mask.detach() != 0


def record_maps(model: nn.Module, inputs: Any, live: bool) -> Recorded:
    """Run a model and keep its attention maps.

    Args:
        model: The model.
        inputs: What it is called with.
        live: Whether the output's graph goes through the maps, from the first on.

    Returns:
        The maps, and what the model returned.

    Raises:
        UnsupportedModelError: If the model has no attention.
    """
    subject = Subject(model)
    recorded = _unrolled(subject, inputs)
    if not recorded.maps:
        raise UnsupportedModelError(
            f"{type(model).__name__} called no softmax whose result mixes values, and "
            "no block of it mixes tokens channel by channel: no attention was found. "
            "Use a method that needs none, such as 'lrp'."
        )
    return _live(subject, inputs, recorded) if live else recorded


def _unrolled(subject: Subject, inputs: Any) -> Recorded:
    """Run the twin, with every layer's mixing in a graph of its own."""
    request = Request(inputs, None, None, (), _ignore)
    events: list[Any] = []
    model = subject.model
    rules: dict[Key, Rule] = {model: SoftmaxRecorder(events, live=False)}
    with instrument(model, twin(), overrides=rules) as lrp, undoing() as undo:
        lrp.runtime.settled = _ignore  # no relevance is propagated here
        with prepared(subject, inputs) as call:
            unrolling = Unrolling(subject, events, undo)
            forward = forward_pass(subject, lrp.runtime, call, request, SourceCollector)
            mixers, fixed = unrolling.mixers()
    maps = [
        UnrolledMap(mixers[n]) if n in mixers else event
        for n, event in enumerate(events)
        if n in mixers or isinstance(event, SoftmaxMap)
    ]
    return Recorded(tuple(maps), forward.output, call, tuple(dict.fromkeys(fixed)))


def _live(subject: Subject, inputs: Any, recorded: Recorded) -> Recorded:
    """Run the plain model, with a graph through what every layer mixed."""
    found: list[Any] = []
    model = subject.model
    rules: dict[Key, Rule] = {model: SoftmaxRecorder(found, live=True)}
    unrolled = [m for m in recorded.maps if isinstance(m, UnrolledMap)]
    with (
        instrument(subject.model, "gradient", overrides=rules) as lrp,
        undoing() as undo,
    ):
        lrp.runtime.settled = _ignore
        _watch_sinks(subject, unrolled, undo)
        with prepared(subject, inputs) as given:
            call = given.fresh()
            lrp.runtime.collector = SourceCollector(call.batch, None)
            try:
                output = subject.model(*call.args, **call.kwargs)
            finally:
                lrp.runtime.collector = None
    softmax = iter(found)
    maps = [m if isinstance(m, UnrolledMap) else next(softmax) for m in recorded.maps]
    return Recorded(tuple(maps), output, call, recorded.fixed)


def _watch_sinks(subject: Subject, unrolled: Sequence[UnrolledMap], undo: Any) -> None:
    """Keep what unrolled layers mixed to, as a part of the graph."""
    calls: dict[str, dict[int, UnrolledMap]] = {}
    for one in unrolled:
        calls.setdefault(one.mixer.sink.module, {})[one.mixer.sink.call] = one
    for name, each in calls.items():
        hook = partial(_keep, each, [0])
        undo.hook(subject.modules[name], "forward_pre_hook", hook, with_kwargs=True)


def _keep(
    each: dict[int, UnrolledMap],
    count: list[int],
    module: nn.Module,
    args: Any,
    kwargs: Any,
) -> Any:
    one = each.get(count[0])
    count[0] += 1
    value = first_tensor((args, kwargs), _mixed)
    if one is None or value is None:
        return None
    if carries(value):
        one.handle = value.clone()
        fresh = one.handle.clone()
    else:
        one.handle, fresh = beginning(value)
    return replace_first((args, kwargs), value, fresh)


def _mixed(x: Tensor) -> bool:
    return x.is_floating_point() and x.ndim > 2


def _ignore(*_: object) -> None:
    pass
