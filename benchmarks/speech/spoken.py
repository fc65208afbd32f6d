"""Sentences that are spoken word by word, so that it is known when each was said."""

from __future__ import annotations

import io
import random
import subprocess
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrp_hooks.texts.sounds import read_sound

__all__ = ["RATE", "Spoken", "sentence", "spoken"]

RATE = 16000
QUIET = 0.01
"""What counts as silence around a word."""
PARTS = (
    "two three seven nine ten",
    "red green black white yellow",
    "birds horses boats children soldiers",
    "ran sang waited slept danced",
    "near behind",
    "rivers mountains houses churches bridges",
)


@dataclass(frozen=True, eq=False)
class Spoken:
    """A sentence as a sound.

    Attributes:
        words: Its words.
        times: When each begins and ends, in seconds.
        samples: The sound, ``[T]`` at `RATE`.
    """

    words: list[str]
    times: list[tuple[float, float]]
    samples: Any


def sentence(number: int, seed: int) -> list[str]:
    """Write a sentence.

    Args:
        number: Which one.
        seed: Of all of them.

    Returns:
        Six words.
    """
    draw = random.Random(f"{seed} {number}")
    return [draw.choice(part.split()) for part in PARTS]


def spoken(words: list[str], voice: str, speed: int, gap: float) -> Spoken:
    """Let espeak-ng say words one by one.

    Args:
        words: The words.
        voice: One of espeak-ng's.
        speed: In words a minute.
        gap: Silence between words, in seconds.

    Returns:
        The sound, and when each word is said.
    """
    parts, times, now = [np.zeros(round(gap * RATE), "float32")], [], gap
    for word in words:
        said = _said(word, voice, speed)
        times.append((now, now + len(said) / RATE))
        parts += [said, np.zeros(round(gap * RATE), "float32")]
        now = times[-1][1] + gap
    return Spoken(words, times, np.concatenate(parts))


def _said(word: str, voice: str, speed: int) -> Any:
    """Return a word without the silence around it."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "--stdout", word]
    done = subprocess.run(command, capture_output=True, check=True)
    sound = read_sound(io.BytesIO(done.stdout), repr(word), RATE).samples
    loud = np.flatnonzero(np.abs(sound) > QUIET)
    return sound[loud[0] : loud[-1] + 1]
