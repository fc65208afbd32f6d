"""Train a deep small ViT on digits: ``python -m benchmarks.faithfulness.training.vit``.

The split is that of ``vit-tiny-mnist``: 8,000 images to train on, 2,000 held out. Of
the 8,000 the last 500 choose the weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .batches import Batch, split
from .loop import Settings, assess, fit, rounded, save

HELD_OUT, CHOOSE = 2000, 500
SPLIT_SEED = 0  # of vit-tiny-mnist
BACKGROUND = -1.0  # black, after normalisation
SHIFT = 2  # pixels that a training image is moved by, at most
SETTINGS = Settings(epochs=40, size=64, lr=1.5e-3, decay=0.05)
ARCHITECTURE = {
    "image_size": 28,
    "patch_size": 7,
    "num_channels": 1,
    "hidden_size": 64,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "initializer_range": 0.1,  # 0.02 is meant for wider models, and learns slowly here
}


class Digits(NamedTuple):
    """Images and what they show.

    Attributes:
        images: Normalised to -1 (black) to 1, ``[N, 1, 28, 28]``.
        labels: Digits, ``[N]``.
    """

    images: Tensor
    labels: Tensor

    def pick(self, places: Tensor) -> Digits:
        """Return the images at some places."""
        return Digits(self.images[places], self.labels[places])

    def batches(
        self, size: int, generator: torch.Generator | None = None
    ) -> Iterable[Batch]:
        """Yield batches; with a generator, shuffled and each image moved a little.

        Yields:
            Batches that hold every image once.
        """
        number = len(self.labels)
        order = torch.arange(number)
        if generator is not None:
            order = torch.randperm(number, generator=generator)
        for places in order.split(size):
            images = self.images[places]
            if generator is not None:
                images = moved(images, SHIFT, generator)
            yield Batch({"pixel_values": images}, self.labels[places])


def main() -> None:
    """Train, report, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of mnist10k")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=SETTINGS.epochs)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    train(read(chosen.data), chosen.out, SETTINGS._replace(epochs=chosen.epochs))


def train(digits: Digits, out: Path, settings: Settings) -> None:
    """Train one model.

    Args:
        digits: All images.
        out: Where to save the result.
        settings: How to train.
    """
    seen, unseen = split(len(digits.labels), HELD_OUT, SPLIT_SEED)
    examples, choose = digits.pick(seen[:-CHOOSE]), digits.pick(seen[-CHOOSE:])
    held_out = digits.pick(unseen)
    model = build(settings.seed)
    about = fit(
        model,
        lambda generator: examples.batches(settings.size, generator),
        -(-len(examples.labels) // settings.size),
        lambda: assess(model, choose.batches(250)),
        settings,
    )
    model = model.half().float()  # what is saved is what is reported
    quality = rounded(assess(model, held_out.batches(250)))
    print("held out", quality)
    save(
        model,
        out,
        {
            "task": "MNIST digits",
            "held_out": {"number": HELD_OUT, "split_seed": SPLIT_SEED, **quality},
            "trained_on": len(examples.labels),
            "settings": settings._asdict(),
            **about,
        },
    )


def read(folder: Path) -> Digits:
    """Read all digits.

    Args:
        folder: Holds ``mnist_t10k.npz``.

    Returns:
        The 10,000 images, normalised, and their labels.
    """
    import numpy

    with numpy.load(folder / "mnist_t10k.npz") as arrays:
        pixels, labels = (torch.tensor(arrays[name]) for name in ("x", "y"))
    return Digits((pixels[:, None] / 255 - 0.5) / 0.5, labels.long())


def build(seed: int, **changes: Any) -> nn.Module:
    """Build the ViT.

    Args:
        seed: Of its weights.
        **changes: To its configuration.

    Returns:
        A classifier of ten digits.
    """
    from transformers import ViTConfig, ViTForImageClassification

    names = {digit: str(digit) for digit in range(10)}
    config = ViTConfig(
        **{**ARCHITECTURE, **changes},
        id2label=names,
        label2id={name: digit for digit, name in names.items()},
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return ViTForImageClassification(config)


def moved(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Move each image by its own number of pixels, and fill in background.

    Args:
        images: ``[N, C, H, W]``.
        most: The largest shift along either axis.
        generator: Draws the shifts.

    Returns:
        The images, in the same shape.
    """
    number, _, height, width = images.shape
    padded = nn.functional.pad(images, [most] * 4, value=BACKGROUND)
    down, right = torch.randint(2 * most + 1, (2, number), generator=generator)
    rows = down[:, None] + torch.arange(height)
    columns = right[:, None] + torch.arange(width)
    places = torch.arange(number)[:, None, None]
    shifted = padded.movedim(1, -1)[places, rows[:, :, None], columns[:, None, :]]
    return shifted.movedim(-1, 1)


if __name__ == "__main__":
    main()
