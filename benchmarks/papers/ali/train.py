"""Train the paper's model: ``python -m benchmarks.papers.ali.train --help``.

The embeddings are those of a BERT trained on SST-2, and stay as they are, as the paper
has them; what is trained is small enough to be kept here.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path

import torch

from ...faithfulness.training.loop import Settings, assess, fit, rounded
from ...faithfulness.training.tweets import Tweets
from .model import AttentionOnly, load_embeddings, save
from .texts import LONGEST, TASKS, read

WEIGHTS = Path(__file__).with_name("weights")
EMBEDDINGS = "sst2-bert-4l128"
DEPTH, HEADS = 3, 4
SETTINGS = {
    "sst2": Settings(epochs=3, size=64, lr=1e-3, checks=2),
    "imdb": Settings(epochs=1, size=32, lr=1e-3),
    "hate": Settings(epochs=3, size=32, lr=1e-3),
    "sentiment": Settings(epochs=3, size=32, lr=1e-3),
}


def main() -> None:
    """Train, report, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="models and data")
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of weights")
    parser.add_argument("--epochs", type=int, help="fewer, for a smoke run")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    settings = SETTINGS[chosen.task]
    settings = settings._replace(epochs=chosen.epochs or settings.epochs)
    base = chosen.shared / "models" / EMBEDDINGS
    train(chosen.task, base, chosen.shared / "data", chosen.out, settings)


def train(task: str, base: Path, data: Path, out: Path, settings: Settings) -> None:
    """Train one model.

    Args:
        task: One of `TASKS`.
        base: The folder of the BERT whose embeddings are read.
        data: The folder of all data sets.
        out: Where to save the result.
        settings: How to train.
    """
    embeddings, tokenizer = load_embeddings(base)
    splits = read(task, data, settings.seed)
    examples, choose, held_out = (
        Tweets(tokenizer, part, LONGEST[task]) for part in splits
    )
    classes = int(max(part.labels.max() for part in splits)) + 1
    torch.manual_seed(settings.seed)
    model = AttentionOnly(embeddings, classes, DEPTH, HEADS)
    about = fit(
        model,
        lambda generator: examples.batches(settings.size, generator),
        len(examples.order(settings.size, torch.Generator())),
        lambda: assess(model, choose.batches(64)),
        settings,
    )
    with torch.no_grad():  # what is saved is what is reported
        for value in (p for p in model.parameters() if p.requires_grad):
            value.copy_(value.half().float())
    quality = rounded(assess(model, held_out.batches(64)))
    print("held out", quality)
    about = {
        "task": task,
        "embeddings": base.name,
        "held_out": {"number": len(held_out), **quality},
        "trained_on": len(examples),
        "longest": LONGEST[task],
        "settings": settings._asdict(),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "transformers")},
        **about,
    }
    save(model, out / task, about)


if __name__ == "__main__":
    main()
