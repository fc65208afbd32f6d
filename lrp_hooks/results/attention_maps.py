"""Attention maps: the gates of one forward pass, as they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import render
from ..errors import ArgumentError, UnsupportedModelError
from ..support.marks import looks_special
from ..views.attention import Example, Layer, Maps
from .shown import Drawn, Page
from .words import line_breaks, read_pieces

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["AttentionMap", "AttentionMaps", "Tokens"]


Tokens = Sequence[str] | Sequence[Sequence[str]] | None
"""Of one example, or a list for each."""


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """The attention weights of one layer.

    Attributes:
        module: The qualified name of the module that attended.
        weights: ``[B, H, Q, K]``: head, query, key. Those of a softmax have rows that
            sum to 1; implicit ones have signs.
        kind: ``"softmax"``, or ``"implicit"``: the weights by which a layer without a
            softmax, such as Mamba's, mixes its own values with its gates frozen.
        values: What implicit weights mix, ``[B, H, K, D]``, D channels a head;
            ``None`` for a softmax, and for a mean over heads.
        output: What they are mixed to, ``[B, H, Q, D]``: ``weights @ values``, and
            besides what biases of a convolution within add.
    """

    module: str
    weights: Tensor
    kind: str = "softmax"
    values: Tensor | None = None
    output: Tensor | None = None


@dataclass(frozen=True, eq=False)
class AttentionMaps(Page, Drawn):
    """All attention maps of one forward pass, in the order in which they were made.

    Attributes:
        maps: One a layer; an encoder-decoder has those of all its attentions, a hybrid
            those of every kind.
        attended: Boolean ``[B, T]``, false at padding, or ``None`` where there is none.
        tokens: ``B`` lists of tokens with their padding, where the inputs know them.
        fixed: Modules that take tokens mixed by weights that no input changes, as by
            RWKV's shift ahead of its projections; those are no maps.
    """

    maps: tuple[AttentionMap, ...]
    attended: Tensor | None = None
    tokens: Sequence[Sequence[str]] | None = None
    fixed: tuple[str, ...] = ()

    @property
    def weights(self) -> Tensor:
        """All maps in one tensor, ``[L, B, H, T, T]``.

        Raises:
            UnsupportedModelError: If layers differ in shape.
        """
        shapes = {tuple(found.weights.shape) for found in self.maps}
        if len(shapes) != 1:
            raise UnsupportedModelError(
                f"the maps have the shapes {', '.join(map(str, sorted(shapes)))} and "
                "are no single tensor; take them one by one, as in maps[0].weights."
            )
        return torch.stack([found.weights for found in self.maps])

    def view(self, tokens: Tokens = None) -> Maps:
        """Collect what there is to show.

        Args:
            tokens: See `to_html`.

        Returns:
            The maps of each example, among its tokens where those are attended to.
        """
        return _shown(self.maps, self.attended, self.tokens, tokens)

    def to_html(self, tokens: Tokens = None) -> str:
        """Render a self-contained page: an image for each head, and layers' means.

        Args:
            tokens: A list of strings for one example or ``B`` lists, with padding or
                without. Defaults to ``None``: ``tokens``, or the positions' numbers.

        Returns:
            An HTML document; special characters of tokens and modules are escaped.
        """
        return render.page(self.view(tokens))

    def plot(self, tokens: Tokens = None, *, width: float | None = None) -> Figure:
        """Draw layers by heads.

        Args:
            tokens: See `to_html`.
            width: Inches that the figure may take. Defaults to ``None``: as it is read
                best on a screen.

        Returns:
            A matplotlib figure, registered with no window.
        """
        return render.figure(self.view(tokens), width)

    def __len__(self) -> int:
        """Return the number of maps."""
        return len(self.maps)

    def __iter__(self) -> Iterator[AttentionMap]:
        """Go through the maps."""
        return iter(self.maps)

    def __getitem__(self, layer: int) -> AttentionMap:
        """Return the map of a layer."""
        return self.maps[layer]

    def __repr__(self) -> str:
        """Return one line a map."""
        lines = [
            f"  {number:>3}  {list(found.weights.shape)}  {found.module}"
            f"{'' if found.kind == 'softmax' else f' ({found.kind})'}"
            for number, found in enumerate(self.maps)
        ]
        return "\n".join([f"AttentionMaps: {len(self)} of [B, H, Q, K]", *lines])


def _shown(
    maps: Sequence[AttentionMap],
    attended: Tensor | None,
    own: Sequence[Sequence[str]] | None,
    tokens: Tokens,
) -> Maps:
    """Collect what there is to show.

    Args:
        maps: The maps.
        attended: Boolean ``[B, T]``, or ``None`` where there is no padding.
        own: The tokens that the maps know, with their padding.
        tokens: Those to show instead, see `AttentionMaps.to_html`.

    Returns:
        What there is to show.
    """
    batch, length = len(maps[0].weights), maps[0].weights.shape[-1]
    if attended is None or tuple(attended.shape) != (batch, length):
        attended = torch.ones(batch, length, dtype=torch.bool)
    kept = [row.nonzero().flatten().tolist() for row in attended.cpu()]
    if tokens is None and all(len(row) == length for row in own or ()):
        tokens = own
    named = _named(tokens, kept, length)
    mine = [_is_own(found, maps, length) for found in maps]
    return Maps([
        Example(
            tokens=row,
            special=list(map(looks_special, row)),
            layers=_layers(maps, mine, b, kept[b]),
            breaks=line_breaks(pieces),
        )
        for b, (row, pieces) in enumerate(zip(named, read_pieces(named), strict=True))
    ])


def _is_own(found: AttentionMap, maps: Sequence[AttentionMap], length: int) -> bool:
    """Tell self-attention among the tokens from a decoder's, which may be as many."""
    split = any("encoder" in one.module.split(".") for one in maps)
    inside = not split or "encoder" in found.module.split(".")
    return inside and found.weights.shape[-2:] == (length, length)


def _layers(
    maps: Sequence[AttentionMap], own: list[bool], b: int, kept: list[int]
) -> list[Layer]:
    layers = []
    for found, mine in zip(maps, own, strict=True):
        weights = found.weights[b].detach().cpu().double()
        if mine:
            weights = weights[:, kept][:, :, kept]
        implicit = found.kind == "implicit"
        name = f"{found.module} (implicit, sizes)" if implicit else found.module
        layers.append(Layer(name, weights.abs() if implicit else weights, mine))
    return layers


def _named(tokens: Tokens, kept: list[list[int]], length: int) -> list[list[str]]:
    """Return the tokens of each example, without padding.

    Raises:
        ArgumentError: If tokens do not fit the maps.
    """
    if tokens is None:
        return [[str(t) for t in row] for row in kept]
    rows = [tokens] if all(isinstance(token, str) for token in tokens) else tokens
    if isinstance(tokens, str) or any(isinstance(row, str) for row in rows):
        raise ArgumentError(
            "tokens must be a list of strings for one example, or one list for each, "
            f"got {tokens!r:.60}."
        )
    if len(rows) != len(kept):
        raise ArgumentError(
            f"tokens holds {len(rows)} lists for {len(kept)} examples; pass one list "
            "for each."
        )
    named = []
    for b, (row, positions) in enumerate(zip(rows, kept, strict=True)):
        if len(row) not in {length, len(positions)}:
            raise ArgumentError(
                f"tokens has {len(row)} tokens for example {b}, but its maps have "
                f"{length} positions, {len(positions)} without padding; pass one token "
                "for each."
            )
        whole = len(row) == length
        named.append([str(row[t]) for t in positions] if whole else list(map(str, row)))
    return named
