"""Train on digits: ``python -m benchmarks.papers.ali.superpixels.train --help``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ....faithfulness.training.batches import Batch, buckets, split
from ....faithfulness.training.loop import Settings, assess, fit, rounded
from ....faithfulness.training.vit import CHOOSE, HELD_OUT, SPLIT_SEED
from .data import Digits, collate, read
from .model import GraphTransformer

__all__ = ["WEIGHTS", "load", "train"]

WEIGHTS = Path(__file__).parents[1] / "weights"
SETTINGS = Settings(epochs=6, size=32, lr=2e-3)


class Logits(NamedTuple):
    """What the training loop reads.

    Attributes:
        logits: ``[B, 10]``.
    """

    logits: Tensor


class Named(nn.Module):
    """The model under a call whose output has ``logits``."""

    def __init__(self, model: GraphTransformer) -> None:
        """Wrap it."""
        super().__init__()
        self.model = model

    def forward(self, **inputs: Tensor) -> Logits:
        """Call it."""
        return Logits(self.model(**inputs))


def main() -> None:
    """Train, report, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of mnist10k")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of weights")
    parser.add_argument("--epochs", type=int, default=SETTINGS.epochs)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    train(read(chosen.data), chosen.out, SETTINGS._replace(epochs=chosen.epochs))


def train(digits: Digits, out: Path, settings: Settings) -> None:
    """Train one model.

    Args:
        digits: All of them.
        out: Where to save the result.
        settings: How to train.
    """
    number = len(digits.labels)
    seen, unseen = split(number, number * HELD_OUT // 10000, SPLIT_SEED)
    few = max(1, number * CHOOSE // 10000)
    torch.manual_seed(settings.seed)
    model = GraphTransformer()
    named = Named(model)
    about = fit(
        named,
        lambda generator: batches(digits, seen[:-few], settings.size, generator),
        -(-len(seen[:-few]) // settings.size),
        lambda: assess(named, batches(digits, seen[-few:], 250)),
        settings,
    )
    quality = rounded(assess(named, batches(digits, unseen, 250)))
    print("held out", quality)
    out.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), out / "mnist.safetensors")
    about = {
        "task": "MNIST superpixels",
        "held_out": {"number": len(unseen), "split_seed": SPLIT_SEED, **quality},
        "trained_on": len(seen) - few,
        "settings": settings._asdict(),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "scikit-image")},
        **about,
    }
    text = json.dumps(about, indent=1) + "\n"
    (out / "mnist.json").write_text(text, encoding="utf-8")


def batches(
    digits: Digits, rows: Tensor, size: int, generator: torch.Generator | None = None
) -> Iterator[Batch]:
    """Yield some digits, those of like size together; shuffled if asked to."""
    sizes = torch.tensor([len(digits.graphs[row].features) for row in rows.tolist()])
    if generator is None:
        order = list(sizes.argsort().split(size))
    else:
        order = buckets(sizes, size, generator)
    for places in order:
        own = rows[places].tolist()
        yield Batch(collate([digits.graphs[row] for row in own]), digits.labels[own])


def load(folder: Path = WEIGHTS) -> tuple[GraphTransformer, dict[str, Any]]:
    """Load a trained model.

    Args:
        folder: Where it was saved.

    Returns:
        The model in eval mode, and how it was made.
    """
    text = (folder / "mnist.json").read_text(encoding="utf-8")
    model = GraphTransformer()
    model.load_state_dict(load_file(folder / "mnist.safetensors"))
    return model.eval(), json.loads(text)


if __name__ == "__main__":
    main()
