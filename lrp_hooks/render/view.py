"""What there is to show in an explanation, before any markup: the renderers' input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import ArgumentError
from ..support.text import decimals
from .pictures import backgrounds

if TYPE_CHECKING:
    from ..results.explanation import Explanation
    from ..results.relevance import Ledger

__all__ = ["Account", "Example", "Picture", "Strip", "View", "view"]


@dataclass(frozen=True)
class Strip:
    """A row of tokens with their scores; padding is left out.

    Args:
        name: The tensor that was read, or ``""`` if there is just one.
        tokens: The tokens, or the positions' numbers where tokens are unknown.
        scores: One number for each token.
        special: Is the token a special one?
    """

    name: str
    tokens: list[str]
    scores: list[float]
    special: list[bool]


@dataclass(frozen=True, eq=False)
class Picture:
    """An image of scores.

    Args:
        name: The tensor that was read, or ``""`` if there is just one.
        scores: ``[H, W]``.
        image: The picture that they explain, bytes ``[H', W', 3]``, if it is known.
    """

    name: str
    scores: Tensor
    image: Tensor | None = None


@dataclass(frozen=True)
class Account:
    """One example's ledger.

    Args:
        groups: The terms by kind, each a name and a number.
        sources: All sources, each a name and a number.
        total: Inputs and sources together.
        error: The relative part of the output that is not accounted for.
    """

    groups: list[tuple[str, float]]
    sources: list[tuple[str, float]]
    total: float
    error: float


@dataclass(frozen=True)
class Example:
    """One example of the batch.

    Args:
        target: The name of what was explained.
        output: The explained scalar.
        parts: The scores, one part for each tensor that was read.
        account: The ledger, if there is one.
        prediction: What the model says, if that is known.
    """

    target: str
    output: float
    parts: list[Strip | Picture]
    account: Account | None
    prediction: str = ""

    @property
    def places(self) -> int:
        """How many decimals the output and the terms of the ledger need."""
        terms = self.account.groups if self.account else []
        return decimals(max(abs(x) for x in (self.output, *(x for _, x in terms))))


@dataclass(frozen=True)
class View:
    """An explanation, ready to be shown.

    Args:
        method: The explainer's name, with its rule set.
        scale: The largest absolute score of all examples.
        examples: One for each example of the batch.
    """

    method: str
    scale: float
    examples: list[Example]


def view(explanation: Explanation) -> View:
    """Collect what there is to show.

    Args:
        explanation: Of any explainer.

    Returns:
        Plain numbers and strings, none of them escaped yet.
    """
    tensors = _tensors(explanation)
    shown = _pictures(explanation)
    method = explanation.method
    if "rules" in explanation.meta:
        method = f"{method} ({explanation.meta['rules']})"
    outputs = explanation.output.detach().flatten().tolist()
    accounts = _accounts(explanation)
    predictions = explanation.meta.get("prediction")
    examples = [
        Example(
            target=target,
            output=outputs[b],
            parts=[
                _part(explanation, name, s, b, shown) for name, s in tensors.items()
            ],
            account=accounts[b] if accounts else None,
            prediction=predictions[b] if predictions else "",
        )
        for b, target in enumerate(explanation.targets)
    ]
    return View(method, _scale(examples), examples)


def _tensors(explanation: Explanation) -> dict[str, Tensor]:
    """Return the scores by name, ``""`` for the name of a single tensor.

    Raises:
        ArgumentError: If they have a shape that cannot be shown.
    """
    scores = explanation.scores
    named = {"": scores} if isinstance(scores, Tensor) else scores
    for name, tensor in named.items():
        if tensor.dim() not in {1, 2, 3}:
            where = f" of {name!r}" if name else ""
            raise ArgumentError(
                f"scores{where} have the shape {list(tensor.shape)}; [B], [B, T] and "
                "[B, H, W] can be shown. Sum over the other dimensions first."
            )
    return {name: tensor.detach().cpu() for name, tensor in named.items()}


def _pictures(explanation: Explanation) -> list[Tensor] | None:
    """Return the pictures to lay images of scores over, if there are any."""
    if explanation.images is None:
        return None
    return backgrounds(explanation.images, len(explanation.output))


def _part(
    explanation: Explanation,
    name: str,
    scores: Tensor,
    b: int,
    pictures: list[Tensor] | None,
) -> Strip | Picture:
    """Return the scores of one example, read at one tensor."""
    if scores.dim() == 3:
        return Picture(name, scores[b], None if pictures is None else pictures[b])
    row = scores[b].reshape(-1)
    tokens, longest = _tokens(explanation, b, len(row))
    flags = explanation.meta.get("special")
    special = flags[b] if flags else []
    shown = [t for t in range(len(row)) if t < len(tokens) or t >= longest]
    attended = explanation.attended
    if attended is not None and attended.shape == scores.shape:
        shown = [t for t in shown if attended[b, t]]
    return Strip(
        name,
        tokens=[_label(explanation, tokens, longest, t) for t in shown],
        scores=[float(row[t]) for t in shown],
        special=[t < len(tokens) and t < len(special) and special[t] for t in shown],
    )


def _label(explanation: Explanation, tokens: list[str], longest: int, t: int) -> str:
    """Return a token, or the name of a column behind all tokens."""
    extra = explanation.meta.get("extra", [])
    if t < len(tokens):
        return tokens[t]
    return str(extra[t - longest]) if 0 <= t - longest < len(extra) else str(t)


def _tokens(explanation: Explanation, b: int, length: int) -> tuple[list[str], int]:
    """Return the tokens of an example, and how many the longest example has."""
    if explanation.tokens is not None:
        longest = max(map(len, explanation.tokens))
        if longest <= length:
            return explanation.tokens[b], longest
    return [str(t) for t in range(length)], length


def _accounts(explanation: Explanation) -> list[Account] | None:
    """Return the ledger of each example, if the explanation has a ledger."""
    ledger: Ledger | None = getattr(explanation, "ledger", None)
    if ledger is None:
        return None
    inputs = "inputs" if explanation.tokens is None else "tokens"
    groups = _rows({
        inputs if k == "inputs" else k: v for k, v in ledger.groups.items()
    })
    sources = _rows(ledger.sources) or [[] for _ in groups]
    totals, errors = ledger.total.tolist(), ledger.error.tolist()
    return [Account(*row) for row in zip(groups, sources, totals, errors, strict=True)]


def _rows(columns: Mapping[str, Tensor]) -> list[list[tuple[str, float]]]:
    """Return the named numbers of each example."""
    numbers = zip(*(values.tolist() for values in columns.values()), strict=True)
    return [list(zip(columns, row, strict=True)) for row in numbers]


def _scale(examples: list[Example]) -> float:
    """Return the largest finite absolute score."""
    largest = 0.0
    for part in (part for example in examples for part in example.parts):
        if isinstance(part, Picture):
            finite = part.scores[torch.isfinite(part.scores)].abs()
            largest = max(largest, float(finite.max()) if finite.numel() else 0.0)
        else:
            largest = max([largest, *(abs(s) for s in part.scores if math.isfinite(s))])
    return largest
