"""The paper's texts, SST-2 and IMDB, and tweets: what is trained on and explained."""

from __future__ import annotations

from pathlib import Path

import torch

from ...faithfulness.training import tweets
from ...faithfulness.training.batches import split
from ...faithfulness.training.tweets import Splits, Texts

__all__ = ["LONGEST", "TASKS", "read"]

LONGEST = {"sst2": 64, "imdb": 128, "hate": 64, "sentiment": 64}
"""Tokens that a text is cut to; half of the paper's reviews, for time."""
TASKS = tuple(LONGEST)
CHOOSE = {"sst2": 2000, "imdb": 500}  # of the training file


def read(task: str, data: Path, seed: int) -> Splits:
    """Read a task's texts.

    Args:
        task: One of `TASKS`.
        data: The folder of all data sets.
        seed: Of what is split here.

    Returns:
        Disjoint texts to train on, to choose weights on and to explain: the
        development set of SST-2, the test sets of IMDB and hate, and of tweets'
        sentiment those of the test set that were not trained on.
    """
    if task not in CHOOSE:
        return tweets.read(task, data / "tweeteval", seed)
    kept, column = {"sst2": ("dev", "sentence"), "imdb": ("test", "text")}[task]
    given = table(data / task / "train.parquet", column)
    held_out = table(data / task / f"{kept}.parquet", column)
    seen, chosen = split(len(given.texts), CHOOSE[task], seed)
    return Splits(given.pick(seen), given.pick(chosen), held_out)


def table(path: Path, column: str) -> Texts:
    """Read a file of texts."""
    import pandas

    frame = pandas.read_parquet(path)
    return Texts(frame[column].tolist(), torch.tensor(frame["label"].tolist()))
