"""Texts and models of the benchmark, from the folder that LRP_HOOKS_SHARED names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lrp_hooks.texts.loading import load_folder

Config = dict[str, Any]


class Case(NamedTuple):
    """One text.

    Attributes:
        name: Where it comes from, and its number there.
        ids: Token ids with special tokens, ``[1, T]``.
        words: The word that each position belongs to, or -1; ``[T]``.
        attention: Whether humans marked each word, ``[W]``; empty if nobody did.
    """

    name: str
    ids: Tensor
    words: Tensor
    attention: Tensor


def shared() -> Path:
    """Return the folder of data and models.

    Returns:
        What ``LRP_HOOKS_SHARED`` names.

    Raises:
        SystemExit: If the variable is not set.
    """
    folder = os.environ.get("LRP_HOOKS_SHARED")
    if not folder:
        raise SystemExit("LRP_HOOKS_SHARED must name the folder of data and models.")
    return Path(folder)


def load(name: str) -> tuple[nn.Module, Any]:
    """Load a model, and its tokenizer without truncation."""
    model, tokenizer = load_folder(shared() / "models" / name)
    tokenizer.backend_tokenizer.no_truncation()
    return model, tokenizer


def cases(tokenizer: Any, settings: Config, config: Config) -> Iterable[Case]:
    """Yield the first texts of each source that have a fitting number of tokens.

    Yields:
        The texts.
    """
    import pandas

    data = shared() / "data"
    for source, column, path in (
        ("sst2", "sentence", "sst2/sentences_test.parquet"),
        ("imdb", "text", "imdb/test.parquet"),
    ):
        texts = pandas.read_parquet(data / path)[column]
        bounds = config["shortest"][source], settings["longest"]
        found = 0
        for number, text in enumerate(texts):
            ids = tokenizer(text, return_tensors="pt", verbose=False)["input_ids"]
            fits = bounds[0] <= ids.shape[1] - 2 <= bounds[1]
            if fits and found < settings[source]:
                found += 1
                nothing = torch.empty(0)
                yield Case(f"{source} {number}", ids, torch.empty(0), nothing)


def attended(tokenizer: Any, settings: Config) -> Iterable[Case]:
    """Yield reviews with the words that all annotators marked.

    Yields:
        The texts.
    """
    import pandas

    path = shared() / "data" / "yelp_hat"
    table = pandas.concat(map(pandas.read_parquet, sorted(path.glob("*50words*"))))
    found = 0
    for number, (_, rows) in enumerate(table.groupby("text", sort=False)):
        lists = {tuple(words) for words in rows["words"]}
        marks = {tuple(map(int, a)) for a in rows["attention"]}
        first = list(min(lists))
        batch = tokenizer(first, is_split_into_words=True, verbose=False)
        usable = len(lists) == 1 and all(len(m) == len(first) for m in marks)
        if not usable or len(batch["input_ids"]) > settings["longest"] + 2:
            continue
        both = torch.tensor(list(marks)).bool().all(0)
        if found == settings["yelp_hat"] or not both.any() or both.all():
            continue
        found += 1
        words = torch.tensor([-1 if w is None else w for w in batch.word_ids()])
        yield Case(f"yelp {number}", torch.tensor([batch["input_ids"]]), words, both)


def naive_bayes(tokenizer: Any, config: Config) -> dict[int, float]:
    """Return ``log((positive + a) / (negative + a))`` of each token id.

    Args:
        tokenizer: The model's.
        config: Says how many training sentences, and ``a``.

    Returns:
        Weights by token id.
    """
    import pandas

    path = shared() / "data" / "sst2" / "sentences_train.parquet"
    table = pandas.read_parquet(path).head(config["naive_bayes_texts"])
    counts = {label: Counter[int]() for label in (0, 1)}
    for text, label in zip(table["sentence"], table["label"], strict=True):
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        counts[int(label)].update(ids)
    a = config["smoothing"]
    ratios = {i: (counts[1][i] + a) / (counts[0][i] + a) for i in counts[0] | counts[1]}
    return {i: float(torch.tensor(ratio).log()) for i, ratio in ratios.items()}
