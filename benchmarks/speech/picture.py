"""Draw what each word was heard in: ``python -m benchmarks.speech.picture FOLDER``."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .run import FRAME, HERE, Reader
from .spoken import RATE, Spoken, sentence, spoken

PATH = HERE.parents[1] / "docs" / "_static" / "speech.png"
NUMBER = 3
AFTER = 0.5


def draw(reader: Reader, said: Spoken, config: dict[str, Any]) -> Figure:
    """Draw the sound, when its words were said, and the relevance of each moment.

    Args:
        reader: The model.
        said: The sentence.
        config: The configuration.

    Returns:
        A figure.
    """
    found = reader.explained(said, max_new_tokens=config["new_tokens"])
    end = round((said.times[-1][1] + AFTER) / FRAME)
    size = round(config["moment"] / FRAME)
    scores = found.scores[:, : end - end % size].unflatten(1, (-1, size)).sum(2)
    figure = Figure(figsize=(8, 4), layout="constrained")
    sound, heat = figure.subplots(2, sharex=True, height_ratios=(1, 3))
    sound.plot(np.arange(len(said.samples)) / RATE, said.samples, lw=0.4, color="0.3")
    for word, (start, stop) in zip(said.words, said.times, strict=True):
        sound.axvspan(start, stop, color="0.9")
        sound.text(
            (start + stop) / 2,
            1.05,
            word,
            ha="center",
            va="bottom",
            transform=sound.get_xaxis_transform(),
        )
        for line in (start, stop):
            heat.axvline(line, color="0.8", lw=0.6)
    sound.set_yticks([])
    most = float(scores.abs().max())
    shown = heat.imshow(
        scores,
        cmap="PuOr_r",
        vmin=-most,
        vmax=most,
        aspect="auto",
        extent=(0, scores.shape[1] * config["moment"], len(scores) - 0.5, -0.5),
    )
    heat.set_yticks(range(len(scores)), [word.strip() for word in found.generated])
    heat.set_xlabel("seconds")
    figure.colorbar(shown, ax=heat, label="relevance of 0.1 s")
    return figure


def main() -> None:
    """Write the picture of a tutorial."""
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    words = sentence(NUMBER, config["seed"])
    said = spoken(words, config["voice"], config["speed"], config["gap"])
    draw(Reader(sys.argv[1]), said, config).savefig(PATH, dpi=110)


if __name__ == "__main__":
    main()
