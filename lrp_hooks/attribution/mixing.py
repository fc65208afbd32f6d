"""What mixes tokens channel by channel: the value path of a layer, gates frozen.

With its gates frozen a recurrent or linear attention layer is a linear map of its own
values, y[t, e] = sum_s M_e[t, s] v[s, e] (Zimerman et al. 2024, "A Unified Implicit
Attention Formulation"; Ali et al. 2024, "The Hidden Attention of Mamba Models"). The
values are a part of what a linear layer returned, y is what a later layer takes; which
ones, backward passes through the linearised twin tell, and no names.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .tangents import Pushing

__all__ = ["Mixer", "Sink", "Source", "flat"]

_AT_ONCE = 1 << 24
"""How many numbers of seeds are worked on at a time."""


@dataclass(frozen=True, eq=False)
class Source:
    """What mixing may start from.

    Attributes:
        module: The module that made it.
        tensor: ``[B, T, ...]``, a part of the graph.
        order: Its number among all that ran.
        projected: Whether a linear layer made it.
    """

    module: str
    tensor: Tensor
    order: int
    projected: bool


@dataclass(frozen=True, eq=False)
class Sink:
    """What mixing may end in: what a layer takes.

    Attributes:
        module: The layer.
        call: Which call of it.
        tensor: ``[B, T, ...]``, a part of the graph.
        order: Its number among all that ran.
        block: The block in which it runs.
    """

    module: str
    call: int
    tensor: Tensor
    order: int
    block: str


@dataclass(frozen=True, eq=False)
class Mixer:
    """A layer that mixes tokens, between its values and what they are mixed to.

    Attributes:
        sink: What they are mixed to, of E channels.
        sources: What the values are parts of; where there are several, their sum.
        channels: Which channels of a source are the values, ``[E']``.
        mixed: Which channels of the sink they are mixed to, ``[E']``.
        fixed: Whether no layer projects the values and the weights are the same at
            every token: a shift or a convolution ahead of the projections.
    """

    sink: Sink
    sources: tuple[Source, ...]
    channels: Tensor
    mixed: Tensor
    fixed: bool

    @property
    def module(self) -> str:
        """The module that holds both ends."""
        pair = (self.sources[-1].module.split("."), self.sink.module.split("."))
        same = 0
        for one, other in zip(*pair, strict=False):
            if one != other:
                break
            same += 1
        return ".".join(pair[0][:same])

    @property
    def values(self) -> Tensor:
        """The values, ``[B, T, E']``."""
        parts = [flat(s.tensor.detach())[..., self.channels] for s in self.sources]
        return torch.stack(parts).sum(0)

    @property
    def output(self) -> Tensor:
        """What they are mixed to, ``[B, T, E']``."""
        return flat(self.sink.tensor.detach())[..., self.mixed]

    def weights(self) -> Tensor:
        """Unroll the layer: one tangent a token, many at a time.

        Returns:
            The weights of each channel, ``[B, E', T, T]``: to, from.
        """
        y, source = flat(self.sink.tensor), self.sources[-1].tensor
        pushing = Pushing({_SINK: y}, {_SOURCE: source})
        size = max(1, _AT_ONCE // (16 * source.numel()))
        tokens = torch.arange(y.shape[1], device=y.device)
        columns = [self._columns(pushing, part) for part in torch.split(tokens, size)]
        return torch.cat(columns).permute(1, 3, 2, 0).contiguous()

    def _columns(self, pushing: Pushing, tokens: Tensor) -> Tensor:
        """Return what values of 1 at some tokens are mixed to, [C, B, T, E']."""
        source = self.sources[-1].tensor
        tangents = source.new_zeros(len(tokens), *source.shape).detach()
        every = source.new_zeros(flat(source).shape[-1]).detach()
        every[self.channels] = 1.0
        place = torch.arange(len(tokens), device=tokens.device)
        tangents.flatten(3)[place, :, tokens] = every
        arrived = pushing.push({_SOURCE: tangents})[_SINK]
        return arrived[..., self.mixed]


_SINK, _SOURCE = "sink", "source"


def flat(x: Tensor) -> Tensor:
    """Put channels in one dimension.

    Args:
        x: ``[B, T, ...]``.

    Returns:
        ``[B, T, E]``.
    """
    return x if x.ndim == 3 else x.flatten(2)
