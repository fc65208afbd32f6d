"""Which channels a layer mixes with themselves alone, told by backward passes.

A gradient seeded at one channel of what a layer takes reaches one channel of its
values, if the layer mixes tokens channel by channel: seeds of ones, of the channels'
numbers and of random numbers then differ by one factor a channel, which is its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..engine.autograd import carries
from ..engine.gathering import gathering
from .mixing import Mixer, Sink, Source, flat

__all__ = ["find_mixers"]


def find_mixers(
    sources: Sequence[Source], sinks: Sequence[Sink]
) -> tuple[list[Mixer], list[Sink]]:
    """Find the layers of a block that mix tokens.

    Args:
        sources: Where mixing may start, in the order in which they ran.
        sinks: Where it may end, alike.

    Returns:
        The layers, and what mixes tokens in another way than channel by channel.
    """
    found: dict[int, Mixer] = {}
    left: list[tuple[Sink, set[int]]] = []
    for sink in sinks:
        before = [s for s in sources if s.order < sink.order and _alike(s, sink)]
        if not before or not carries(sink.tensor):
            continue
        moved = _moved(sink, before)
        if not moved:
            continue
        mixer = _aligned(sink, moved)
        if mixer is None:
            left.append((sink, {m.source.order for m in moved}))
        else:
            found[mixer.sources[-1].order] = mixer
    missing = [sink for sink, orders in left if not orders & set(found)]
    return sorted(found.values(), key=lambda m: m.sink.order), missing


def _alike(source: Source, sink: Sink) -> bool:
    return source.tensor.shape[:2] == sink.tensor.shape[:2]


def _random(shape: Sequence[int], like: Tensor) -> Tensor:
    """Draw numbers that no layer knows; no random state of others is moved."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(*shape, generator=generator, dtype=torch.float64)
    return (drawn + 0.5).to(like)


def _differentiate(
    y: Tensor, seed: Tensor, sources: Sequence[Source]
) -> list[Tensor | None]:
    tensors = [source.tensor for source in sources]
    with gathering([y]):
        found = torch.autograd.grad(
            y, tensors, seed, retain_graph=True, allow_unused=True
        )
    return [None if g is None else flat(g) for g in found]


@dataclass(frozen=True, eq=False)
class _Moved:
    """A source of which values reach other tokens.

    Attributes:
        source: The source.
        mixes: Which of its channels do, boolean [E'].
    """

    source: Source
    mixes: Tensor


def _moved(sink: Sink, sources: Sequence[Source]) -> list[_Moved]:
    """Return the sources of which a token's values reach other tokens."""
    y = flat(sink.tensor)
    mixes: dict[int, Tensor] = {}
    drawn = _random(y.shape[2:], y)
    for token in {0, y.shape[1] - 1}:
        seed = torch.zeros_like(y)
        seed[:, token] = drawn
        for number, grad in enumerate(_differentiate(y, seed, sources)):
            if grad is not None:
                elsewhere = grad.abs().sum(0)
                elsewhere[token] = 0.0
                found = (elsewhere > 0).any(0)
                mixes[number] = mixes.get(number, found) | found
    return [_Moved(sources[n], mixes[n]) for n in sorted(mixes) if bool(mixes[n].any())]


@dataclass(frozen=True, eq=False)
class _Columns:
    """Channels of a source that go to one channel of the sink each.

    Attributes:
        source: The source.
        channels: Its channels, [E'].
        mixed: The sink's, ascending, [E'].
        brought: The gradient that all tokens together brought them, [B, T, E'].
    """

    source: Source
    channels: Tensor
    mixed: Tensor
    brought: Tensor


def _aligned(sink: Sink, moved: Sequence[_Moved]) -> Mixer | None:
    """Find the values: what is mixed with itself alone, channel by channel."""
    found = [c for m in moved if (c := _columns(sink, m)) is not None]
    if not found:
        return None
    last = found[-1]
    same = [c.source for c in found if c is last or _same(c, last)]
    mixer = Mixer(sink, tuple(same), last.channels, last.mixed, fixed=False)
    projected = any(source.projected for source in same)
    fixed = not projected and _is_stencil(mixer)
    return Mixer(sink, mixer.sources, mixer.channels, mixer.mixed, fixed)


def _same(one: _Columns, other: _Columns) -> bool:
    """Tell values that are added to one another, as an adapter's to its layer's."""
    if not torch.equal(one.channels, other.channels):
        return False
    gap = (one.brought - other.brought).abs().amax()
    return bool(gap <= _near(other.brought) * other.brought.abs().amax())


def _near(x: Tensor) -> float:
    """Return what counts as rounding: layers may work in single precision inside."""
    eps = max(torch.finfo(kind).eps for kind in (x.dtype, torch.float32))
    return float(eps**0.5)


def _columns(sink: Sink, moved: _Moved) -> _Columns | None:
    """Number the sink's channels: a gradient of one alone is a multiple of its own."""
    y = flat(sink.tensor)
    source, width = moved.source, y.shape[2]
    numbers = torch.arange(1, width + 1, device=y.device).to(y)
    drawn = _random((width,), y)
    ones, counted, weighed = (
        _brought(y, source, seed) for seed in (torch.ones_like(drawn), numbers, drawn)
    )
    number, top = _numbers(ones, counted)
    own = drawn[number.clamp(0, width - 1)]
    gap = (weighed - ones * own).abs().amax((0, 1))
    known = (number >= 0) & (number < width) & (gap <= _near(y) * top)
    channels = _last_that_mixes(moved.mixes, known.nonzero()[:, 0], number)
    if channels is None:
        return None
    channels = channels[number[channels].argsort()]
    return _Columns(source, channels, number[channels], ones[..., channels])


def _numbers(ones: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Return each channel's number, -1 where nothing came, and the most that came."""
    rows = ones.flatten(0, 1)
    strongest = rows.abs().argmax(0, keepdim=True)
    top = rows.gather(0, strongest)[0]
    ratio = counted.flatten(0, 1).gather(0, strongest)[0] / torch.where(
        top == 0, 1, top
    )
    number = torch.where(top == 0, 0.0, ratio).round().long() - 1
    return number, top.abs()


def _brought(y: Tensor, source: Source, seed: Tensor) -> Tensor:
    """Return what all tokens together bring a source, each with a weight of its own."""
    tokens = _random(y.shape[1:2], y)[:, None].expand_as(y)
    (found,) = _differentiate(y, tokens * seed, [source])
    assert found is not None, "the source was found to reach the sink"
    return found


def _last_that_mixes(mixes: Tensor, known: Tensor, number: Tensor) -> Tensor | None:
    """Choose one channel for each of the sink's.

    Of a gate and values in one tensor the values mix. Where factors are alike, as in a
    gated convolution, the last is taken for the values.

    Returns:
        The channels; None where they are not one for each.
    """
    moving = known[mixes[known]]
    if not len(moving):
        return None
    of = number[known]
    counts = torch.bincount(of)
    counts = counts[counts > 0]
    if bool((counts == counts[0]).all()):
        ranks = known[of.argsort(stable=True)].view(-1, int(counts[0]))
        each = [torch.isin(rank, moving).any() for rank in ranks.unbind(1)]
        return ranks[:, max(n for n, any_ in enumerate(each) if bool(any_))]
    return moving if len(set(number[moving].tolist())) == len(moving) else None


def _is_stencil(mixer: Mixer) -> bool:
    """Tell whether the last two tokens take the same of those before them."""
    y = flat(mixer.sink.tensor)
    rows = []
    for token in (y.shape[1] - 1, y.shape[1] - 2):
        seed = torch.zeros_like(y)
        seed[:, token] = 1.0
        (grad,) = _differentiate(y, seed, mixer.sources[-1:])
        assert grad is not None
        rows.append(grad[..., mixer.channels])
    gap = (rows[0][:, 1:] - rows[1][:, :-1]).abs().amax()
    return bool(gap <= _near(y) * rows[0].abs().amax())
