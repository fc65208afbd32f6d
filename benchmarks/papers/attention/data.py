"""IMDB reviews as ids of the one-layer classifier: words, class token, padding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lrp_hooks.explainers.closed_form import document
from lrp_hooks.explainers.closed_form.files import split

from ...slalom.texts import shared


def reviews(split: str) -> tuple[list[str], Tensor]:
    """Read IMDB.

    Args:
        split: ``"train"`` or ``"test"``.

    Returns:
        Texts, and labels ``[N]``, 1 for a positive review.
    """
    import pandas

    table = pandas.read_parquet(shared() / "data" / "imdb" / f"{split}.parquet")
    return list(table["text"]), torch.tensor(table["label"].tolist())


def words(text: str) -> list[str]:
    """Return a text's words, in lower case and without punctuation."""
    return split(text.replace("<br />", " "))


def vocabulary(texts: Iterable[str], size: int) -> list[str]:
    """Return the most frequent words, ties by the alphabet."""
    counts = Counter(word for text in texts for word in words(text))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return ranked[:size]


def encode(texts: Iterable[str], known: Sequence[str], length: int) -> Tensor:
    """Turn texts into documents.

    Args:
        texts: ``N`` of them.
        known: The vocabulary.
        length: ``T``.

    Returns:
        Ids ``[N, T]``: the class token, words, of which unknown ones are the unknown
        token, and padding with that, too.
    """
    return torch.stack([
        document(" ".join(words(text)), known, length) for text in texts
    ])
