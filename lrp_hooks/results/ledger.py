"""The ledger: every part of an output, and where it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["GROUPS", "Ledger", "summed", "wide"]

GROUPS = ("inputs", "positions", "biases", "softmax", "other")
# The parts of a name that tell embeddings of positions, types, the class, registers.
_EMBEDDING_WORDS = ("embed", "position", "wpe", "wte", "_token", "latents", "pos_enc")
_TEXT = ("embed_tokens", "word_embed", "tok_embed", "token_embed", "input_ids")


@dataclass(frozen=True, eq=False, repr=False)
class Ledger:
    """Where every bit of the output went; what is not attributed is error.

    There is no line for a remainder. ``positions[name].sum(1) == sources[name]`` for a
    source that was added at token positions.

    Args:
        inputs: The sum of scores of each example, ``[B]``: of its own input alone.
        sources: Relevance of each constant, ``{qualified name: [B]}``: biases,
            buffers, position, type and class-token embeddings, and what a softmax
            absorbs.
        positions: ``{name: [B, T]}`` for the sources added at token positions.
        output: The explained scalar of each example, ``[B]``.
    """

    inputs: Tensor
    sources: dict[str, Tensor]
    positions: Mapping[str, Tensor]
    output: Tensor

    @property
    def total(self) -> Tensor:
        """Inputs and sources together, ``[B]``, summed in float64."""
        return self._terms().sum(0).to(self.output)

    @property
    def scale(self) -> Tensor:
        """``max(|output|, sum of |terms|)``, ``[B]`` in float64 on the CPU."""
        return self._scale(self._terms())

    @property
    def error(self) -> Tensor:
        """``|output - total| / scale``, ``[B]``; 0 for 0/0.

        Each example by itself: what its output owes another example's input is error.
        """
        terms = self._terms()
        size = self._scale(terms)
        gap = (wide(self.output) - terms.sum(0)).abs()
        return torch.where(size == 0, gap, gap / size).to(self.output)

    @property
    def groups(self) -> dict[str, Tensor]:
        """The terms by kind, ``{kind: [B]}``: a short form for display.

        The kinds are ``"inputs"``, ``"positions"`` (position, type and class-token
        embeddings), ``"biases"`` and, where there are any, ``"softmax"`` (what
        attention absorbs) and ``"other"``.
        """
        names: dict[str, list[str]] = {kind: [] for kind in GROUPS}
        for name in self.sources:
            names[_kind(name)].append(name)
        groups = {
            kind: summed((self.sources[n] for n in members), self.output)
            for kind, members in names.items()
            if members or kind in {"positions", "biases"}
        }
        return {"inputs": self.inputs, **groups}

    def __repr__(self) -> str:
        """Return a table: one line for each kind of term, one column an example."""
        rows = {**self.groups, "total": self.total, "output": self.output}
        lines = [
            f"  {name:<9} "
            + " ".join(f"{v:>+12.5g}" for v in values.flatten().tolist())
            for name, values in rows.items()
        ]
        errors = " ".join(f"{v:>12.1e}" for v in self.error.flatten().tolist())
        heading = f"Ledger of {len(self.sources)} sources"
        return "\n".join([heading, *lines, f"  {'error':<9} {errors}"])

    def _scale(self, terms: Tensor) -> Tensor:
        return torch.maximum(wide(self.output).abs(), terms.abs().sum(0))

    def _terms(self) -> Tensor:
        """Return inputs and sources in float64, ``[1 + sources, B]``."""
        return torch.stack([wide(self.inputs), *map(wide, self.sources.values())])


def summed(parts: Iterable[Tensor], like: Tensor) -> Tensor:
    """Sum tensors, or none, in float64.

    Args:
        parts: Tensors of one shape.
        like: Gives the sum its shape, dtype and device.

    Returns:
        The sum.
    """
    total = torch.zeros(like.shape, dtype=torch.float64)
    for part in parts:
        total += wide(part)
    return total.to(like)


def wide(tensor: Tensor) -> Tensor:
    """Widen a tensor, on the CPU since not every device has float64.

    Args:
        tensor: Any.

    Returns:
        The same numbers in float64, without a graph.
    """
    done = tensor.dtype is torch.float64 and not tensor.requires_grad and tensor.is_cpu
    return tensor if done else tensor.detach().to("cpu", torch.float64)


def _kind(name: str) -> str:
    """Return the group of a source, by the last part of its name that says it."""
    low = name.lower()
    leaf = low.rpartition(".")[2]
    if "softmax" in low:
        return "softmax"
    if "bias" in leaf or leaf == "beta":
        return "biases"
    if any(word in low for word in _EMBEDDING_WORDS):
        # Tokens that are not read are no positions.
        return "other" if any(word in low for word in _TEXT) else "positions"
    return "other"
