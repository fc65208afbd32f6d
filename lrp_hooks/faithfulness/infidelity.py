"""Infidelity: sums of scores beside the change of the logit, by ``captum.metrics``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..explainers.calls import check_number
from ..support.seeds import check_seed
from .fidelity import flat_scores, opened
from .occlusion import Occlusion

__all__ = ["disagree", "infidelity"]


def infidelity(
    model: nn.Module,
    batch: Any,
    scores: Tensor,
    target: Any,
    replace_with: Any,
    *,
    normalize: bool = False,
    n_samples: int = 50,
    seed: int = 0,
    special_tokens: str = "keep",
    special_ids: Iterable[int] = (),
) -> Tensor:
    """Compare sums of scores with the change of the logit, by ``captum.metrics``.

    E[(I . scores - (f(x) - f(x - I)))^2] over sets I, in which each token is with
    probability 1/2 (Yeh et al. 2019, Eq. 1).

    Args:
        model: See `Metric`, as for all but ``normalize``, ``n_samples`` and ``seed``.
        batch: The inputs.
        scores: The scores.
        target: The classes.
        replace_with: What takes a token's place.
        normalize: Whether scores are first multiplied by the number that suits them
            best, an example each, so that scores without a unit can be compared.
        n_samples: How many sets an example.
        seed: Of the sets; no global random state is read or moved.
        special_tokens: What happens to special tokens.
        special_ids: Their ids.

    Returns:
        ``[B]``; 0 is best.
    """
    occlusion = opened(
        model, batch, scores, target, replace_with, special_tokens, special_ids
    )
    return disagree(occlusion, scores, target, normalize, n_samples, seed)


def disagree(
    occlusion: Occlusion,
    scores: Tensor,
    target: Any,
    normalize: bool = False,
    n_samples: int = 50,
    seed: int = 0,
) -> Tensor:
    """Do as `infidelity` with inputs that are shown in parts already.

    Args:
        occlusion: The inputs.
        scores: The scores.
        target: The classes.
        normalize: Whether scores are first scaled to suit best.
        n_samples: How many sets an example.
        seed: Of the sets.

    Returns:
        ``[B]``.
    """
    from captum.metrics import infidelity as captum_infidelity

    check_number("n_samples", n_samples, least=1, whole=True)
    flat = flat_scores(occlusion, scores)
    gone = _random_halves(occlusion.free, n_samples, seed).flatten(0, 1).double()

    def forward(kept: Tensor, rows: Tensor) -> Tensor:
        logits = occlusion.logits_of(rows, kept > 0)
        classes = occlusion.classes(target, logits.shape[1])
        return logits.gather(1, classes[rows][:, None])[:, 0]

    def perturb(kept: Tensor) -> tuple[Tensor, Tensor]:
        return gone, kept - gone

    found: Tensor = captum_infidelity(
        forward,
        perturb,
        torch.ones_like(flat),
        flat,
        additional_forward_args=(torch.arange(len(flat)),),
        n_perturb_samples=n_samples,
        normalize=normalize,
    )
    return found.clamp(min=0)  # rounding takes a square of nothing below 0


def _random_halves(free: Tensor, n_samples: int, seed: int) -> Tensor:
    """Return which places of each example are taken away, ``[B, n_samples, P]``."""
    gone = torch.zeros(len(free), n_samples, free.shape[1], dtype=torch.bool)
    for row, own in enumerate(free):
        # Anew for each example: the same whatever else is in the batch.
        generator = torch.Generator().manual_seed(check_seed(seed))
        drawn = torch.rand(n_samples, int(own.sum()), generator=generator)
        gone[row, :, own] = drawn < 0.5
    return gone
