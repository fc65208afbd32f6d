"""What of an answer is explained: of each token a number that is linear in its logits.

The gradient of a token's log-probability is that of z_y - sum_v p_v z_v with the
probabilities p frozen, which is linear in the logits z and so conserves. It equals
(1 - p_y) u_y, with u_y = z_y - sum_{v != y} q_v z_v the logit's lead over the tokens
that might have come instead, q being p without y. The lead keeps its digits where p_y
is all but 1, and both vanish without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import ArgumentError
from ..results.ledger import wide

__all__ = ["TARGETS", "Leads", "check_target"]

BANDS = (1e-3, 1e-5, 1e-7, 0.0)
"""The least slopes of like size: at most a thousand tokens have the first or more."""


class Leads(NamedTuple):
    """A number for each token of the answer, and what it weighs in a span.

    Attributes:
        parts: Tensors ``[1, G]`` with their graph, which sum to the numbers. Terms of
            like size stand together: in float32 small ones are lost among large ones.
        outputs: The numbers, ``[G]``, in float64 on the CPU like the weights.
        weights: ``[G]``.
    """

    parts: list[Tensor]
    outputs: Tensor
    weights: Tensor


def log_probability(logits: Tensor, ids: Tensor) -> Leads:
    """Return how far each token leads, weighted as its log-probability says.

    Args:
        logits: ``[1, G, V]``.
        ids: The tokens, ``[G]``.

    Returns:
        The leads u and the weights 1 - p.
    """
    rows = [_lead(row, y) for row, y in zip(logits[0], ids.tolist(), strict=True)]
    slopes, outputs, weights = map(torch.stack, zip(*rows, strict=True))
    slopes = slopes.to(logits)[None]
    sizes, most, parts = slopes.abs(), torch.inf, []
    for least in BANDS:
        band = (sizes > least) & (sizes <= most)
        # So its graph keeps the slopes once, and a mask a band.
        parts.append((slopes * logits.where(band, 0.0)).sum(2))
        most = least
    return Leads(parts, outputs, weights)


def _lead(logits: Tensor, y: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the slopes [V] of a token's lead, the lead, and its weight."""
    known = wide(logits)
    others = known.clone()
    others[y] = -torch.inf
    slopes = -others.softmax(0)
    slopes[y] = 1.0
    weight = (others.logsumexp(0) - known.logsumexp(0)).exp()
    # In the narrower type in which they start the backward pass.
    slopes = slopes.to(logits.dtype)
    return slopes, wide(slopes) @ known, weight


def logit(logits: Tensor, ids: Tensor) -> Leads:
    """Return the raw logit of each token.

    Args:
        logits: ``[1, G, V]``.
        ids: The tokens, ``[G]``.

    Returns:
        The logits, each with weight 1.
    """
    values = logits.gather(2, ids.view(1, -1, 1)).squeeze(2)
    return Leads([values], wide(values[0]), torch.ones(len(ids), dtype=torch.float64))


TARGETS: dict[str, Callable[[Tensor, Tensor], Leads]] = {
    "log_probability": log_probability,
    "logit": logit,
}


def check_target(target: str) -> None:
    """Refuse a target that is none.

    Args:
        target: See `explain_answer`.

    Raises:
        ArgumentError: If there is none of that name.
    """
    if not isinstance(target, str) or target not in TARGETS:
        raise ArgumentError(
            f"target={target!r} must be one of {', '.join(map(repr, TARGETS))}."
        )
