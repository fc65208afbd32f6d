"""Sounds in files: what a model's feature extractor makes of them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from ..errors import ArgumentError
from ..support.extras import require

__all__ = ["Sound", "features_of", "read_sound"]

MOST_SAMPLES = 30_000_000
"""Half an hour at 16 kHz; a file of few bytes may hold more than a memory does."""


@dataclass(frozen=True, eq=False)
class Sound:
    """A sound as it is heard.

    Attributes:
        samples: Floats from -1 to 1, a NumPy array ``[T]``; channels are averaged.
        rate: Samples a second.
    """

    samples: Any
    rate: int


def read_sound(source: str | IO[bytes], named: str, rate: int | None = None) -> Sound:
    """Read a sound.

    Args:
        source: A file's path, or the file.
        named: What it is called in messages.
        rate: Samples a second that are wanted; others are filtered and drawn anew.
            Defaults to ``None``: as many as the file has.

    Returns:
        The sound.

    Raises:
        ArgumentError: If it is none, is empty or is too long.
    """
    files = require("soundfile", "audio", "reading sounds")
    try:
        with files.SoundFile(_opened(source)) as opened:
            count, own = opened.frames, opened.samplerate
            if 0 < count <= MOST_SAMPLES:
                samples = opened.read(dtype="float32", always_2d=True).mean(1)
                return _at_rate(Sound(samples, own), rate)
    except (OSError, files.LibsndfileError) as error:
        reason = getattr(error, "strerror", None) or "it is no sound of a known format"
        raise ArgumentError(
            f"{named} cannot be read: {reason}. Name a .wav, .flac or .ogg file."
        ) from error
    if count <= 0:
        raise ArgumentError(f"{named} has 0 samples. Name a file with a sound in it.")
    raise ArgumentError(
        f"{named} has {count:,} samples; {MOST_SAMPLES:,} are read at most. Cut it: "
        "models read some seconds."
    )


def _opened(source: str | IO[bytes]) -> IO[bytes]:
    """Read a file, whose absence the operating system tells better."""
    return io.BytesIO(Path(source).read_bytes()) if isinstance(source, str) else source


def features_of(extractor: Any, sound: Sound, named: str) -> dict[str, Tensor]:
    """Make of a sound what a model reads.

    Args:
        extractor: The model's feature extractor.
        sound: The sound, at the extractor's own rate.
        named: What it is called in messages.

    Returns:
        The model's inputs, such as ``input_values`` ``[1, T]`` or ``input_features``
        ``[1, F, T]``.

    Raises:
        ArgumentError: If the extractor refuses the sound, reads no sounds, or would
            cut it.
    """
    most, count = _heard(extractor), len(sound.samples)
    if most is not None and count > most:
        raise ArgumentError(
            f"{named} lasts {count / sound.rate:.1f} s, and the model hears "
            f"{most / sound.rate:.1f} s. Cut it into pieces: what is longer would be "
            "left out."
        )
    try:
        found = extractor(sound.samples, sampling_rate=sound.rate, return_tensors="pt")
    except (ValueError, TypeError, RuntimeError, AssertionError) as error:
        raise ArgumentError(
            f"{named} is not what the model's feature extractor takes: {error}"
        ) from error
    return {key: value for key, value in found.items() if isinstance(value, Tensor)}


def _heard(extractor: Any) -> int | None:
    """Return how many samples a feature extractor keeps; None for all."""
    for name in ("n_samples", "nb_max_samples"):  # of Whisper and of CLAP
        found = getattr(extractor, name, None)
        if isinstance(found, int) and found > 0:
            return found
    frames = getattr(extractor, "max_length", None)  # of AST, ten milliseconds each
    if isinstance(frames, int) and hasattr(extractor, "num_mel_bins"):
        rate = int(extractor.sampling_rate)
        return frames * rate // 100 + rate // 50
    return None


def _at_rate(sound: Sound, rate: int | None) -> Sound:
    """Return a sound at another rate, without what that rate cannot hold."""
    if rate is None or rate == sound.rate:
        return sound
    signal = require("scipy.signal", "audio", "reading sounds of another rate")
    shared = gcd(rate, sound.rate)
    samples = signal.resample_poly(sound.samples, rate // shared, sound.rate // shared)
    return Sound(samples, rate)
