"""One number a place: what was read, summed over all that a place has."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .settings import setting

__all__ = [
    "SOUND",
    "by_place",
    "has_bands_first",
    "is_waveform",
    "laid_out",
    "seen_axes",
]

_SERIES = ("past_values", "time_series")
SOUND = ("input_values", "input_features")
"""Names of sounds."""
_CHANNELS = ("num_channels", "in_channels", "in_chans", "image_channels")


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


def seen_axes(name: str, shape: Sequence[int], model: nn.Module) -> tuple[int, ...]:
    """Tell along which axes of a float input people look.

    Args:
        name: Its name.
        shape: Its shape, the examples first.
        model: The model, whose configuration tells bands and channels.

    Returns:
        The axes in the order in which they are shown; all others are summed over: the
        time of a sound, height and width of an image, the frames of a video before
        them, variables and time of a series.
    """
    ndim = len(shape)
    if ndim < 3:
        return tuple(range(ndim))
    if ndim == 3 and name in _SERIES:
        return 0, 2, 1
    if ndim == 3:
        return 0, 2 if _has_rows_first(name, shape, model) else 1
    if ndim == 4 and name in SOUND:
        return 0, 2
    channels = _channel_axis(shape, setting(model, *_CHANNELS))
    return tuple(axis for axis in range(ndim) if axis != channels)


def laid_out(kept: Tensor, axes: Sequence[int]) -> Tensor:
    """Put the axes that people see in their order.

    Args:
        kept: What is left of a tensor where all other axes were reduced.
        axes: See `seen_axes`.

    Returns:
        The same; an example's only image has no axis of its own.
    """
    seen = kept.permute([sorted(axes).index(axis) for axis in axes])
    return seen.squeeze(1) if seen.ndim > 3 else seen


def has_bands_first(model: nn.Module, given: Tensor) -> bool:
    """Tell a spectrogram [B, F, T] from one [B, T, F].

    Args:
        model: The model, whose configuration may say how many bands there are.
        given: A float input of it.

    Returns:
        True for the former.
    """
    return given.ndim == 3 and _has_rows_first("", given.shape, model)


def is_waveform(name: str, given: Tensor) -> bool:
    """Tell samples, [B, T], mono or stereo [B, C, T], from features.

    Args:
        name: The input.
        given: Its value.

    Returns:
        True for samples.
    """
    channels = name == "input_values" and given.ndim == 3
    return given.ndim == 2 or (channels and given.shape[1] <= 2 < given.shape[2])


def _has_rows_first(name: str, shape: Sequence[int], model: nn.Module) -> bool:
    """Tell bands or channels before time from what comes after it."""
    bands = setting(model, "num_mel_bins")
    if name == "input_values" and shape[1] <= 2 < shape[2]:
        return True
    return bool(bands == shape[1] != shape[2])


def _channel_axis(shape: Sequence[int], channels: int | None) -> int:
    """Find the channels of images, [B, ..., C, H, W], [B, C, F, H, W], or last."""
    usual, last = len(shape) - 3, len(shape) - 1
    counts = {1, 3} if channels is None else {channels}
    others = [1] if channels is None else [1, last]
    if shape[usual] in counts:
        return usual
    return next((axis for axis in others if shape[axis] in counts), usual)
