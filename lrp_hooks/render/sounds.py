"""Sounds as pictures: a waveform, or a spectrogram with its low bands at the bottom."""

from __future__ import annotations

import torch
from torch import Tensor

from .pictures import backgrounds

__all__ = ["sound_picture", "ticks_of"]

WIDTH, HEIGHT = 640, 96
INK = 40  # of the grey that a wave is drawn in


def sound_picture(sound: Tensor) -> Tensor:
    """Draw a sound.

    Args:
        sound: A waveform ``[T]``, or bands by time ``[F, T]``.

    Returns:
        Bytes ``[HEIGHT, WIDTH, 3]``.
    """
    sound = torch.nan_to_num(sound.detach().cpu().double())
    return _wave(sound) if sound.dim() == 1 else _bands(sound)


def ticks_of(count: int, seconds: float | None, unit: str) -> list[str]:
    """Name five moments, evenly spread from the first to the end.

    Args:
        count: How many entries there are.
        seconds: How long each is; None where nothing says it.
        unit: What they are called otherwise.

    Returns:
        The names.
    """
    places = [count * number / 4 for number in range(5)]
    if seconds is None:
        return [f"{place:.0f}" for place in places[:-1]] + [f"{count} {unit}"]
    return [f"{place * seconds:.2f}" for place in places[:-1]] + [
        f"{count * seconds:.2f} s"
    ]


def _wave(sound: Tensor) -> Tensor:
    """Draw the least and the greatest value of each column's samples."""
    ends = torch.arange(WIDTH + 1) * len(sound) // WIDTH
    largest = float(sound.abs().max()) or 1.0
    rows = torch.arange(HEIGHT)[:, None]
    least, most = torch.empty(WIDTH), torch.empty(WIDTH)
    for column in range(WIDTH):
        first = min(int(ends[column]), len(sound) - 1)
        own = sound[first : max(int(ends[column + 1]), first + 1)]
        least[column], most[column] = own.min(), own.max()
    top, bottom = ((1 - x / largest) * (HEIGHT - 1) / 2 for x in (most, least))
    inside = (rows >= top.floor()) & (rows <= bottom.ceil())
    grey = torch.where(inside, INK, 255).to(torch.uint8)
    return grey[..., None].expand(HEIGHT, WIDTH, 3).contiguous()


def _bands(sound: Tensor) -> Tensor:
    bands, count = sound.shape
    down = torch.arange(HEIGHT) * bands // HEIGHT
    across = torch.arange(WIDTH) * count // WIDTH
    drawn = sound.flip(0)[down][:, across]
    return backgrounds(drawn[None], 1)[0]
