"""One number a place: what was read, summed over all that a place has."""

from __future__ import annotations

from torch import Tensor, nn

from .inputs import Call

__all__ = ["by_place"]


def by_place(model: nn.Module, call: Call, name: str, values: Tensor) -> Tensor:
    """Sum the relevance of what was read over the features of each place.

    Args:
        model: The model.
        call: How it was called.
        name: What was read.
        values: Its relevance: [B, T, D], [B, C, T, D] of choices, a spectrogram of an
            input [B, F, T], an image [B, C, H, W], or what has one number a place.

    Returns:
        [B, T], [B, C, T], [B, H, W], or the values as they are.
    """
    if values.ndim == 3 and name in call.floats and _has_bands_first(model, values):
        return values.sum(1)
    if values.ndim == 3 or (values.ndim == 4 and call.has_choices):
        return values.sum(-1)
    return values.sum(1) if values.ndim == 4 else values


def _has_bands_first(model: nn.Module, values: Tensor) -> bool:
    """Tell a spectrogram [B, F, T] from one [B, T, F]."""
    bands = getattr(getattr(model, "config", None), "num_mel_bins", None)
    return bands == values.shape[1] != values.shape[2]
