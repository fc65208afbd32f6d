"""Fine-tune MiniLM on TweetEval: ``python -m benchmarks.faithfulness.training.tweets``.

``--task hate`` trains on its 9,000 tweets and is chosen on its validation tweets; its
test tweets are reported. ``--task sentiment`` has no tweets to train on, so its test
tweets are split: some are trained on, the others are reported.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .batches import Batch, buckets, split
from .loop import Settings, assess, fit, rounded, save

LONGEST = 64
HELD_OUT = 2284  # of the 12,284 test tweets of "sentiment"
SETTINGS = {
    "hate": Settings(epochs=1, size=32, lr=1e-4, checks=3),
    "sentiment": Settings(epochs=1, size=32, lr=1e-4, checks=3),
}


class Texts(NamedTuple):
    """Texts and their classes.

    Attributes:
        texts: The texts.
        labels: Classes, ``[N]``.
    """

    texts: list[str]
    labels: Tensor

    def pick(self, places: Tensor) -> Texts:
        """Return the examples at some places."""
        return Texts([self.texts[i] for i in places.tolist()], self.labels[places])


class Splits(NamedTuple):
    """A task's texts.

    Attributes:
        train: What is trained on.
        choose: What the weights are chosen on.
        held_out: What neither has seen.
    """

    train: Texts
    choose: Texts
    held_out: Texts


def main() -> None:
    """Train, report, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=SETTINGS, required=True)
    parser.add_argument("--model", type=Path, required=True, help="folder of MiniLM")
    parser.add_argument("--data", type=Path, required=True, help="folder of tweeteval")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, help="fewer, for a smoke run")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    settings = SETTINGS[chosen.task]
    settings = settings._replace(epochs=chosen.epochs or settings.epochs)
    train(chosen.task, chosen.model, chosen.data, chosen.out, settings)


def train(task: str, base: Path, data: Path, out: Path, settings: Settings) -> None:
    """Fine-tune one model.

    Args:
        task: ``"hate"`` or ``"sentiment"``.
        base: The folder of the model to start from.
        data: The folder of TweetEval.
        out: Where to save the result.
        settings: How to train.
    """
    model, tokenizer = fresh(base, labels(task, data), settings.seed)
    splits = read(task, data, settings.seed)
    examples, choose, held_out = (Tweets(tokenizer, part) for part in splits)
    steps = len(examples.order(settings.size, torch.Generator()))
    about = fit(
        model,
        lambda generator: examples.batches(settings.size, generator),
        steps,
        lambda: assess(model, choose.batches(64)),
        settings,
    )
    rounded_model = model.half().float()  # what is saved is what is reported
    quality = rounded(assess(rounded_model, held_out.batches(64)))
    print("held out", quality)
    save(
        model,
        out,
        {
            "task": f"TweetEval {task}",
            "base": base.name,
            "held_out": {"number": len(held_out), **quality},
            "trained_on": len(examples),
            "settings": settings._asdict(),
            "longest": LONGEST,
            **about,
        },
    )
    tokenizer.save_pretrained(out)


def labels(task: str, data: Path) -> dict[int, str]:
    """Read the classes' names."""
    text = (data / f"{task}_mapping.json").read_text(encoding="utf-8")
    return {int(i): name for i, name in json.loads(text).items()}


def read(task: str, data: Path, seed: int) -> Splits:
    """Read a task's texts.

    Args:
        task: ``"hate"`` or ``"sentiment"``.
        data: The folder of TweetEval.
        seed: Of the split of ``"sentiment"``.

    Returns:
        Disjoint texts to train on, to choose on and to report.
    """
    choose = table(data / f"{task}_val.parquet")
    test = table(data / f"{task}_test.parquet")
    if task == "hate":
        return Splits(table(data / "hate_train.parquet"), choose, test)
    seen, unseen = split(len(test.texts), HELD_OUT, seed)
    return Splits(test.pick(seen), choose, test.pick(unseen))


def table(path: Path) -> Texts:
    """Read a file of texts."""
    import pandas

    frame = pandas.read_parquet(path)
    return Texts(frame["text"].tolist(), torch.tensor(frame["label"].tolist()))


def fresh(folder: Path, names: dict[int, str], seed: int) -> tuple[nn.Module, Any]:
    """Load a model under a new head, with embeddings that do not train.

    Args:
        folder: A BERT classifier of transformers.
        names: The new classes.
        seed: Of the head's weights.

    Returns:
        The model in float32, and its tokenizer.
    """
    from transformers import (
        AutoConfig,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    config = AutoConfig.from_pretrained(
        folder, id2label=names, label2id={name: i for i, name in names.items()}
    )
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, config=config, dtype=torch.float32, ignore_mismatched_sizes=True
    )
    generator = torch.Generator().manual_seed(seed)
    nn.init.normal_(model.classifier.weight, std=0.02, generator=generator)
    nn.init.zeros_(model.classifier.bias)
    model.base_model.embeddings.requires_grad_(False)
    return model, AutoTokenizer.from_pretrained(folder)


class Tweets:
    """Tokenised texts.

    Attributes:
        ids: Token ids of each.
        labels: Classes, ``[N]``.
    """

    def __init__(self, tokenizer: Any, texts: Texts, longest: int = LONGEST) -> None:
        """Tokenise texts.

        Args:
            tokenizer: The model's.
            texts: The texts and their classes.
            longest: Tokens that a text is cut to.
        """
        self.tokenizer, self.labels = tokenizer, texts.labels
        encoded = tokenizer(texts.texts, truncation=True, max_length=longest)
        self.ids: list[list[int]] = encoded["input_ids"]

    def __len__(self) -> int:
        """Count the texts."""
        return len(self.ids)

    def order(self, size: int, generator: torch.Generator | None) -> list[Tensor]:
        """Return the places of each batch, shuffled if there is a generator."""
        lengths = torch.tensor([len(row) for row in self.ids])
        if generator is None:
            return list(lengths.argsort().split(size))
        return buckets(lengths, size, generator)

    def batches(
        self, size: int, generator: torch.Generator | None = None
    ) -> Iterable[Batch]:
        """Yield padded batches.

        Yields:
            Batches that hold every text once.
        """
        for places in self.order(size, generator):
            rows = {"input_ids": [self.ids[i] for i in places.tolist()]}
            padded = self.tokenizer.pad(rows, return_tensors="pt")
            yield Batch(dict(padded), self.labels[places])


if __name__ == "__main__":
    main()
