"""SST-2 and QNLI: texts and pairs, and what of them models are trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...faithfulness.training.batches import Batch, buckets, split

__all__ = ["LONGEST", "Examples", "Parts", "read"]

LONGEST = 128  # the paper's
QNLI_LONGEST = 96  # a few are cut
HELD_OUT = {"qnli": 1500}
CHOOSE = {"sst2": 2000, "qnli": 300}
ENTAILS = ("entailment", "not_entailment")


class Examples:
    """Tokenised texts, or pairs of texts.

    Attributes:
        rows: ``{name: ids}`` of each, as the tokenizer returns them.
        labels: Classes, ``[N]``.
    """

    def __init__(
        self, tokenizer: Any, texts: Sequence[Any], labels: Tensor, longest: int
    ) -> None:
        """Tokenise.

        Args:
            tokenizer: The model's.
            texts: Texts, or ``(text, pair)``.
            labels: Their classes.
            longest: Tokens that they are cut to.
        """
        self.tokenizer, self.labels = tokenizer, labels
        pairs = isinstance(texts[0], tuple)
        given = zip(*texts, strict=True) if pairs else [texts]
        found = tokenizer(
            *[list(part) for part in given],
            truncation=True,
            max_length=longest,
            return_special_tokens_mask=True,
        )
        self.rows = [
            {name: found[name][i] for name in found} for i in range(len(texts))
        ]

    def __len__(self) -> int:
        """Count them."""
        return len(self.rows)

    def lengths(self) -> Tensor:
        """Return the number of tokens of each, ``[N]``."""
        return torch.tensor([len(row["input_ids"]) for row in self.rows])

    def batch(self, places: Sequence[int], special: bool = False) -> Batch:
        """Pad some of them to one length.

        Args:
            places: Which.
            special: Whether to keep ``special_tokens_mask``.

        Returns:
            A batch.
        """
        padded = self.tokenizer.pad([self.rows[i] for i in places], return_tensors="pt")
        inputs = {k: v for k, v in padded.items() if special or "special" not in k}
        return Batch(inputs, self.labels[list(places)])

    def batches(
        self, size: int, generator: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Yield all of them, those of like length together; shuffled if asked to."""
        lengths = self.lengths()
        if generator is None:
            order = list(lengths.argsort().split(size))
        else:
            order = buckets(lengths, size, generator)
        for places in order:
            yield self.batch(places.tolist())


class Parts(NamedTuple):
    """A task's examples.

    Attributes:
        train: What is trained on.
        choose: What the weights are chosen on.
        held_out: What is explained.
    """

    train: Examples
    choose: Examples
    held_out: Examples


def read(task: str, data: Path, tokenizer: Any, seed: int) -> Parts:
    """Read a task.

    Args:
        task: ``"sst2"`` or ``"qnli"``, of which there is the development set alone:
            most of it is trained on.
        data: The folder of all data sets.
        tokenizer: The model's.
        seed: Of what is split.

    Returns:
        Disjoint parts.
    """
    import pandas

    if task == "sst2":
        given = pandas.read_parquet(data / "sst2" / "train.parquet")
        kept = pandas.read_parquet(data / "sst2" / "dev.parquet")
        longest = LONGEST
    else:
        every = pandas.read_parquet(data / "qnli" / "dev.parquet")
        seen, unseen = split(len(every), HELD_OUT[task], seed)
        given, kept = every.iloc[seen.tolist()], every.iloc[unseen.tolist()]
        longest = QNLI_LONGEST
    trained, chosen = split(len(given), CHOOSE[task], seed)
    return Parts(*[
        Examples(tokenizer, *_columns(task, frame), longest)
        for frame in (given.iloc[trained.tolist()], given.iloc[chosen.tolist()], kept)
    ])


def _columns(task: str, frame: Any) -> tuple[list[Any], Tensor]:
    if task == "sst2":
        return frame["sentence"].tolist(), torch.tensor(frame["label"].tolist())
    pairs = list(zip(frame["question"], frame["sentence"], strict=True))
    return pairs, torch.tensor([ENTAILS.index(label) for label in frame["label"]])
