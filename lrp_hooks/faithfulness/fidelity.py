"""Do scores say by how much the output changes? Taking tokens away at random."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ArgumentError
from ..explainers.calls import check_number
from ..results.agreement import MEASURES
from ..support.seeds import check_seed
from .checks import check_scores
from .occlusion import Occlusion

__all__ = [
    "correlate",
    "flat_scores",
    "leave_one_out_correlation",
    "mispredict",
    "opened",
    "removal_error",
]


def leave_one_out_correlation(
    model: nn.Module,
    batch: Any,
    scores: Tensor,
    target: Any,
    replace_with: Any,
    *,
    measure: str = "spearman",
    special_tokens: str = "keep",
    special_ids: Iterable[int] = (),
) -> Tensor:
    """Correlate scores with what the target's logit loses without each token.

    Args:
        model: See `Metric`, as for all but ``measure``.
        batch: The inputs.
        scores: The scores.
        target: The classes.
        replace_with: What takes a token's place.
        measure: ``"spearman"``, ``"kendall"`` or ``"sign"``, see
            `Comparison.agreement`.
        special_tokens: What happens to special tokens.
        special_ids: Their ids.

    Returns:
        ``[B]``; NaN where all scores or all losses are equal.
    """
    occlusion = opened(
        model, batch, scores, target, replace_with, special_tokens, special_ids
    )
    return correlate(occlusion, scores, target, measure)


def correlate(
    occlusion: Occlusion, scores: Tensor, target: Any, measure: str = "spearman"
) -> Tensor:
    """Do as `leave_one_out_correlation` with inputs that are shown in parts already.

    Args:
        occlusion: The inputs.
        scores: The scores.
        target: The classes.
        measure: The measure of agreement.

    Returns:
        ``[B]``.

    Raises:
        ArgumentError: If there is no such measure.
    """
    allowed = [name for name in MEASURES if name != "top_k"]
    if measure not in allowed:
        raise ArgumentError(
            f"measure={measure!r} must be one of {', '.join(map(repr, allowed))}."
        )
    flat = flat_scores(occlusion, scores)
    found = []
    for row, free in enumerate(occlusion.free):
        places = free.nonzero()[:, 0]
        kept = torch.ones(len(places) + 1, len(free), dtype=torch.bool)
        kept[torch.arange(len(places)), places] = False  # the last row is whole
        logits = occlusion.logits_of(torch.full((len(kept),), row), kept)
        wanted = occlusion.classes(target, logits.shape[1])[row]
        losses = logits[-1, wanted] - logits[:-1, wanted]
        found.append(MEASURES[measure](flat[row, places], losses))
    return torch.tensor(found, dtype=torch.float64)


def removal_error(
    model: nn.Module,
    batch: Any,
    scores: Tensor,
    target: Any,
    replace_with: Any,
    *,
    removals: int = 10,
    n_samples: int = 100,
    seed: int = 0,
    special_tokens: str = "keep",
    special_ids: Iterable[int] = (),
) -> Tensor:
    """Predict the log-odds after random removals by sums of scores (SLALOM).

    (F(x) - F(x without S) - sum of scores in S)^2, the mean over sets S of 1 to
    ``removals`` random tokens; F is the log-odds of the target, its logit less the
    log-sum-exp of the others (Leemann et al. 2025).

    Args:
        model: See `Metric`, as for all but ``removals``, ``n_samples`` and ``seed``.
        batch: The inputs.
        scores: The scores.
        target: The classes.
        replace_with: What takes a token's place; SLALOM's own is ``"delete"``.
        removals: The largest set; of shorter inputs, all tokens but one.
        n_samples: How many sets an example.
        seed: Of the sets; no global random state is read or moved.
        special_tokens: What happens to special tokens.
        special_ids: Their ids.

    Returns:
        The mean squared error, ``[B]``.
    """
    occlusion = opened(
        model, batch, scores, target, replace_with, special_tokens, special_ids
    )
    return mispredict(occlusion, scores, target, removals, n_samples, seed)


def mispredict(
    occlusion: Occlusion,
    scores: Tensor,
    target: Any,
    removals: int = 10,
    n_samples: int = 100,
    seed: int = 0,
) -> Tensor:
    """Do as `removal_error` with inputs that are shown in parts already.

    Args:
        occlusion: The inputs.
        scores: The scores.
        target: The classes.
        removals: The largest set.
        n_samples: How many sets an example.
        seed: Of the sets.

    Returns:
        ``[B]``.
    """
    check_number("removals", removals, least=1, whole=True)
    check_number("n_samples", n_samples, least=1, whole=True)
    flat = flat_scores(occlusion, scores)
    kept = torch.cat(
        [
            torch.ones(len(flat), 1, flat.shape[1], dtype=torch.bool),
            _random_sets(occlusion.free, removals, n_samples, seed),
        ],
        1,
    )
    logits = occlusion.logits(kept)
    classes = occlusion.classes(target, logits.shape[2])
    odds = _log_odds(logits, classes)
    predicted = (~kept).double() @ flat[:, :, None]
    return ((odds[:, :1] - odds - predicted[..., 0])[:, 1:] ** 2).mean(1)


def opened(
    model: nn.Module,
    batch: Any,
    scores: Tensor,
    target: Any,
    replace_with: Any,
    special_tokens: str,
    special_ids: Iterable[int],
) -> Occlusion:
    """Understand a batch by the shape of its scores.

    Args:
        model: See `Occlusion`.
        batch: The inputs.
        scores: The scores.
        target: What is read off the output.
        replace_with: What takes a token's place.
        special_tokens: What happens to special tokens.
        special_ids: Their ids.

    Returns:
        The inputs.
    """
    return Occlusion(
        model,
        batch,
        replace_with,
        grid=tuple(check_scores(scores).shape[1:]),
        special_tokens=special_tokens,
        special_ids=special_ids,
        target=target,
    )


def flat_scores(occlusion: Occlusion, scores: Tensor) -> Tensor:
    """Leave out what is never taken away.

    Args:
        occlusion: The inputs.
        scores: Their scores.

    Returns:
        ``[B, P]``, 0 where nothing is ever taken away.
    """
    scores = check_scores(scores)
    occlusion.check_batch(scores)
    return scores.flatten(1) * occlusion.free


def _random_sets(free: Tensor, removals: int, n_samples: int, seed: int) -> Tensor:
    """Return what stays of each example, ``[B, n_samples, P]``."""
    kept = torch.ones(len(free), n_samples, free.shape[1], dtype=torch.bool)
    for row, own in enumerate(free):
        # Anew for each example: the same whatever else is in the batch.
        generator = torch.Generator().manual_seed(check_seed(seed))
        places = own.nonzero()[:, 0]
        most = max(1, min(removals, len(places) - 1))
        for sample in range(n_samples):
            size = int(torch.randint(1, most + 1, (), generator=generator))
            order = torch.randperm(len(places), generator=generator)
            kept[row, sample, places[order[:size]]] = False
    return kept


def _log_odds(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the target's logit less the log-sum-exp of the others, ``[B, K]``."""
    at = classes[:, None, None].expand(*logits.shape[:2], 1)
    own = logits.gather(2, at)[..., 0]
    if logits.shape[2] == 1:
        return own
    return own - logits.scatter(2, at, -torch.inf).logsumexp(2)
