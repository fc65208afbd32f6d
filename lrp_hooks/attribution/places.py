"""One number a place: what was read, summed over all that a place has."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["by_place", "has_bands_first"]


def by_place(
    values: Tensor, bands_first: bool = False, choices: bool = False
) -> Tensor:
    """Sum the relevance of what was read over the features of each place.

    Args:
        values: The relevance: [B, T, D], an image [B, C, H, W], or what has one number
            a place.
        bands_first: Whether it is that of a spectrogram, [B, F, T].
        choices: Whether it is that of several texts an example, [B, C, T, D].

    Returns:
        [B, T], [B, H, W], [B, C, T], or the values as they are.
    """
    if values.ndim == 3:
        return values.sum(1 if bands_first else 2)
    if values.ndim == 4:
        return values.sum(3 if choices else 1)
    return values


def has_bands_first(model: nn.Module, given: Tensor) -> bool:
    """Tell a spectrogram [B, F, T] from one [B, T, F].

    Args:
        model: The model, whose configuration may say how many bands there are.
        given: A float input of it.

    Returns:
        True for the former.
    """
    if given.ndim != 3:
        return False
    bands = getattr(getattr(model, "config", None), "num_mel_bins", None)
    return bool(bands == given.shape[1] != given.shape[2])
