"""What a hidden state is decomposed into: tokens, spans, heads, neurons, a subspace.

Any parts that sum to a tensor of the forward pass are sources: what the linearised twin
makes of each adds up to what it makes of their sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...attribution.reader import InputOf
from ...engine.wrappers import named_modules
from ...errors import ArgumentError
from ...support.suggest import did_you_mean

__all__ = [
    "Heads",
    "Neurons",
    "Parts",
    "Source",
    "Spans",
    "Subspace",
    "checked_source",
    "tokens_of",
]


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of tensors of a forward pass.

    Attributes:
        of: ``{name: [K, *shape]}`` for each tensor, K parts of it.
        names: K names.
    """

    of: dict[str, Tensor]
    names: list[str]


@dataclass(frozen=True)
class Spans:
    """Groups of tokens, each a source.

    Args:
        spans: Pairs (start, end) of positions, the end not included.
    """

    spans: Sequence[tuple[int, int]]

    def parts(self, read: Mapping[str, Tensor]) -> Parts:
        """Cut what is read into spans.

        Args:
            read: ``{name: [B, T, ...]}``, one tensor.

        Returns:
            The parts.

        Raises:
            ArgumentError: If there is no span, one is not of the tokens, or two share
                a token, which would be counted twice.
        """
        ((name, x),) = read.items()
        length = x.shape[1]
        if not self.spans:
            raise ArgumentError("sources=Spans([]) holds no span; pass one or more.")
        found: list[Tensor] = []
        taken = dict[int, tuple[int, int]]()
        for start, end in self.spans:
            if not 0 <= start < end <= length:
                raise ArgumentError(
                    f"sources=Spans holds ({start}, {end}), but there are {length} "
                    "tokens; pass pairs (start, end) with 0 <= start < end."
                )
            for place in range(start, end):
                if place in taken:
                    raise ArgumentError(
                        f"sources=Spans holds {taken[place]} and ({start}, {end}), "
                        f"which share token {place}, so that it would count twice; "
                        "pass spans apart, or one after the other."
                    )
                taken[place] = (start, end)
            part = torch.zeros_like(x)
            part[:, start:end] = x[:, start:end]
            found.append(part)
        names = [f"{start}:{end}" for start, end in self.spans]
        return Parts({name: torch.stack(found)}, names)


@dataclass(frozen=True)
class Heads:
    """What each head of a layer mixed, before the output projection.

    Args:
        module: The name of the module that attends.
    """

    module: str

    @property
    def watched(self) -> str:
        """What to ask a forward pass for."""
        return f"{self.module}.heads".removeprefix(".")

    def found(self, seen: Mapping[str, Tensor]) -> str:
        """Tell under which name the heads were seen.

        Args:
            seen: ``{name: tensor}`` of all that a forward pass watched.

        Returns:
            The name.

        Raises:
            ArgumentError: If several modules inside attend.
        """
        inside = f"{self.module}." if self.module else ""
        names = [n for n in seen if n.startswith(inside) and n.endswith("heads")]
        if self.watched in seen:
            return self.watched
        if len(names) > 1:
            attending = ", ".join(repr(n.removesuffix(".heads")) for n in names)
            raise ArgumentError(
                f"sources=Heads(module={self.module!r}) holds several modules that "
                f"attend; name one of {attending}."
            )
        return names[0]

    def parts(self, read: Mapping[str, Tensor]) -> Parts:
        """Take the heads apart.

        Args:
            read: ``{name: [B, H, T, D]}``, one tensor.

        Returns:
            The parts.
        """
        ((name, x),) = read.items()
        one = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        parts = x * one[:, None, :, None, None]
        return Parts({name: parts}, [f"head {n}" for n in range(x.shape[1])])


@dataclass(frozen=True)
class Neurons:
    """Every number that enters a linear layer, at all positions together.

    Args:
        module: The name of the layer, such as a feed-forward network's second one.
    """

    module: str

    @property
    def wrt(self) -> str:
        """Where to read."""
        return InputOf(self.module)

    def parts(self, read: Mapping[str, Tensor]) -> Parts:
        """Take the neurons apart.

        Args:
            read: ``{name: [B, T, F]}``, one tensor.

        Returns:
            The parts.
        """
        ((name, x),) = read.items()
        one = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        shape = (len(one), *(1,) * (x.ndim - 1), len(one))
        names = [f"neuron {n}" for n in range(len(one))]
        return Parts({name: x * one.view(shape)}, names)


@dataclass(frozen=True, eq=False)
class Subspace:
    """What lies in a subspace of hidden states, and what is orthogonal to it.

    Args:
        basis: ``[D, r]``, whose columns span it; they need be neither orthogonal nor
            independent.
        module: The name of the module whose output is taken apart. Defaults to
            ``None``: where tokens are read.
    """

    basis: Tensor
    module: str | None = None

    @property
    def wrt(self) -> str | None:
        """Where to read."""
        return self.module

    def parts(self, read: Mapping[str, Tensor]) -> Parts:
        """Project what is read.

        Args:
            read: ``{name: [B, T, D]}``, one tensor.

        Returns:
            The part inside, and the part outside.

        Raises:
            ArgumentError: If the basis does not fit.
        """
        ((name, x),) = read.items()
        if self.basis.ndim != 2 or len(self.basis) != x.shape[-1]:
            raise ArgumentError(
                f"sources=Subspace has a basis of shape {list(self.basis.shape)}, but "
                f"{name!r} has {x.shape[-1]} numbers a token; pass "
                f"[{x.shape[-1]}, r]."
            )
        basis = self.basis.to(x.device, torch.float64)
        inside = x @ (basis @ torch.linalg.pinv(basis)).to(x)
        return Parts({name: torch.stack([inside, x - inside])}, ["inside", "outside"])


def tokens_of(read: dict[str, Tensor], mask: Tensor | None) -> Parts:
    """Make every token of what is read a source, of one input after the other.

    Args:
        read: ``{name: [B, T, D]}``.
        mask: 0 at padding, ``[B, T]``, or None.

    Returns:
        The parts.

    Raises:
        ArgumentError: If there are no tokens.
    """
    if any(x.ndim != 3 for x in read.values()):
        shapes = ", ".join(str(list(x.shape)) for x in read.values())
        raise ArgumentError(
            f"inputs have no tokens that DecompX could attribute to: what is read has "
            f"the shape {shapes}, and not [B, T, D]. Use method 'lrp' for this model."
        )
    if mask is not None:
        read = {
            name: x * mask.to(x)[..., None] if x.shape[:2] == mask.shape else x
            for name, x in read.items()
        }
    count = sum(x.shape[1] for x in read.values())
    of, place = {}, 0
    for name, x in read.items():
        part = x.new_zeros(count, *x.shape)
        index = torch.arange(x.shape[1], device=x.device)
        part[place + index, :, index] = x.transpose(0, 1)
        of[name], place = part, place + x.shape[1]
    return Parts(of, [str(t) for t in range(count)])


Source = Spans | Heads | Neurons | Subspace
"""What sources may be beside ``"tokens"``."""


def checked_source(model: nn.Module, sources: Any) -> Source | None:
    """Return what is decomposed into, None for tokens.

    Args:
        model: The model.
        sources: See `DecompX`.

    Returns:
        The source.

    Raises:
        ArgumentError: If it is no source, or names no module.
    """
    if isinstance(sources, str) and sources == "tokens":
        return None
    if isinstance(sources, Source):
        name = getattr(sources, "module", None)
        known = [name for name, _ in named_modules(model)]
        if name is not None and name not in known:
            kind = type(sources).__name__
            raise ArgumentError(
                f"sources={kind}(module={name!r}) names no module of the model; "
                f"model.named_modules() lists them.{did_you_mean(name, known)}"
            )
        return sources
    raise ArgumentError(
        f"sources={sources!r:.80} must be 'tokens', Spans([(start, end), ...]), "
        "Heads(module), Neurons(module) or Subspace(basis, module) of "
        "lrp_hooks.explainers.decompx."
    )
