"""Exact recovery of a SLALOM from 2 D - 1 questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import ArgumentError
from .returned import numbers
from .surrogate import Surrogate

__all__ = ["Recovery", "recover"]

Sequences = list[list[int]]
_SAME = 1e-9


@dataclass(frozen=True)
class Recovery:
    """What was recovered.

    Args:
        surrogate: The surrogate, with centred importances.
        valid: The share of pairs that lie between the values of their two tokens, as
            they do for every SLALOM. Below 1 the model is none, and an invalid pair
            says no more of a token's importance than that of its partner. NaN where no
            pair was asked, since all tokens say the same: that says nothing of the
            model, and importances are 0.
    """

    surrogate: Surrogate
    valid: float


def recover(
    log_odds: Callable[[Sequences], Tensor], vocabulary: Sequence[int]
) -> Recovery:
    """Recover values and importances without a fit.

    A token alone shows its value. Beside a partner of another value, ``F`` lies between
    the two, and ``s_i - s_k = logit((F - v_k) / (v_i - v_k))``. It takes ``D``
    questions for values and ``D - 1`` for importances.

    Leemann et al. 2025, https://arxiv.org/abs/2405.13536.

    Args:
        log_odds: The model: from lists of ids to their log-odds.
        vocabulary: ``D`` distinct token ids.

    Returns:
        The surrogate, and how far the model is one.

    Raises:
        ArgumentError: If the vocabulary is empty or has an id twice, or what the
            model returns is no finite number for each sequence.
    """
    ids = sorted(vocabulary)
    if not ids or len(set(ids)) < len(ids):
        raise ArgumentError(
            f"vocabulary has {len(ids)} ids, {len(set(ids))} of them distinct. Give "
            "at least one, each once."
        )
    values = _asked(log_odds, [[i] for i in ids])
    low, high = int(values.argmin()), int(values.argmax())
    importances = torch.zeros_like(values)
    valid = torch.full((1,), torch.nan)
    if float(values[high] - values[low]) > _SAME * float(values.abs().max()):
        # Beside a token of its own value a token says nothing of its importance.
        near = values - values[low] < (values[high] - values[low]) / 2
        partners = torch.where(near, high, low)
        others = [i for i in range(len(ids)) if i != low]
        outputs = _asked(log_odds, [[ids[i], ids[int(partners[i])]] for i in others])
        theirs = values[partners[others]]
        ratio = (outputs - theirs) / (values[others] - theirs)
        valid = ((ratio > 0) & (ratio < 1)).double()
        importances[others] = torch.where(valid > 0, ratio.logit(), 0.0)
        importances += torch.where(partners == high, importances[high], 0.0)
        importances[low] = 0.0
    importances -= importances.mean()
    surrogate = Surrogate(torch.tensor(ids), values, importances)
    return Recovery(surrogate, float(valid.mean()))


def _asked(log_odds: Callable[[Sequences], Tensor], sequences: Sequences) -> Tensor:
    """Ask the model.

    Returns:
        ``[N]`` in float64.

    Raises:
        ArgumentError: If it returns anything else.
    """
    wanted = f"it must return [{len(sequences)}] finite log-odds."
    said = numbers("log_odds", log_odds(sequences), wanted.capitalize())
    if said.shape != (len(sequences),) or not bool(said.isfinite().all()):
        raise ArgumentError(
            f"log_odds returned the shape {list(said.shape)} for {len(sequences)} "
            f"sequences{', with numbers that are not finite' * (said.ndim == 1)}; "
            f"{wanted}"
        )
    return said
