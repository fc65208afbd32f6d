"""Yelp-HAT: reviews, and the words that people marked as the reason of their label.

Sen et al. 2020, "Human Attention Maps for Text Classification", ACL,
https://aclanthology.org/2020.acl-main.419.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

STRICT, MAJORITY = "all", "majority"


class Text(NamedTuple):
    """A review as a model reads it.

    Attributes:
        ids: Token ids, special tokens included.
        words: The word that each token belongs to, or -1; ``[T]``.
        label: 1 for a positive review.
        rationales: Whether the annotators marked each word, ``{name: [W]}``.
    """

    ids: list[int]
    words: Tensor
    label: int
    rationales: dict[str, Tensor]


def read(
    folder: Path, part: str, tokenizer: Any, longest: int, number: int
) -> tuple[list[Text], dict[str, int]]:
    """Read the first usable reviews of one part.

    Args:
        folder: Of the shared data.
        part: The file's name, without its suffix.
        tokenizer: Makes tokens of words.
        longest: The most tokens that a text may have, special ones included.
        number: How many texts are wanted at most.

    Returns:
        The texts, and how many there were and were left out, by the reason.
    """
    import pandas

    table = pandas.read_parquet(folder / "yelp_hat" / f"{part}.parquet")
    found: list[Text] = []
    counts = Counter[str]()
    for _, group in table.groupby("text", sort=False):
        if len(found) == number:
            break
        counts["read"] += 1
        maps = list(zip(group["words"], group["attention"], strict=True))
        label = int(group["label"].iloc[0])
        outcome = make(maps, label, tokenizer, longest)
        if isinstance(outcome, Text):
            found.append(outcome)
        else:
            counts[outcome] += 1
    return found, {**counts, "used": len(found)}


def make(
    maps: Sequence[tuple[Sequence[str], Sequence[int]]],
    label: int,
    tokenizer: Any,
    longest: int,
) -> Text | str:
    """Join the maps of one review.

    Args:
        maps: Words, and whether each is marked, of every annotator.
        label: Of the review.
        tokenizer: Makes tokens of words.
        longest: The most tokens that a text may have.

    Returns:
        The text, or why it cannot be used.
    """
    words = [str(word) for word in maps[0][0]]
    if any(list(other) != words or len(marks) != len(words) for other, marks in maps):
        return "annotators' words differ"
    batch = tokenizer(words, is_split_into_words=True, verbose=False)
    if len(batch["input_ids"]) > longest:
        return "too long"
    rationales = agreed([marks for _, marks in maps])
    if not all(0 < int(marked.sum()) < len(words) for marked in rationales.values()):
        return "no word, or every word, is marked"
    places = torch.tensor([-1 if w is None else w for w in batch.word_ids()])
    return Text(batch["input_ids"], places, label, rationales)


def agreed(marks: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Join annotators: words that all marked, and that more than half of them did.

    Args:
        marks: 0 or 1 for each word, of every annotator.

    Returns:
        Boolean ``[W]`` by name.
    """
    share = torch.tensor([list(map(int, row)) for row in marks]).double().mean(0)
    return {STRICT: share == 1, MAJORITY: share > 0.5}


def by_word(scores: Sequence[Tensor], texts: Sequence[Text]) -> Iterator[Tensor]:
    """Sum the scores of each word's tokens; words without a token score 0.

    Args:
        scores: ``[T]`` of each text.
        texts: The texts.

    Yields:
        ``[W]`` of each text.
    """
    for row, text in zip(scores, texts, strict=True):
        inside = text.words >= 0
        total = torch.zeros(len(text.rationales[STRICT]), dtype=row.dtype)
        yield total.scatter_add_(0, text.words[inside], row[inside])
