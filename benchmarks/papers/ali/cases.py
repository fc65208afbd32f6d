"""What is explained: a model, its examples in batches, and where relevance is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lrp_hooks.faithfulness import Occlusion

from ...faithfulness.molecules import data as molecule_data
from ...faithfulness.molecules import train as molecule_train
from ...faithfulness.molecules.graphs import TOKENIZER, UNKNOWN, VIRTUAL
from ...faithfulness.molecules.run import Batch
from ...faithfulness.training.loop import assess
from ...faithfulness.training.tweets import Tweets
from . import model as attention_only
from .texts import LONGEST, read
from .train import EMBEDDINGS, WEIGHTS

__all__ = ["CASES", "Case"]

ATTENTION_ONLY = "attention-only"
SIZE = 16  # texts of a batch


class Case(NamedTuple):
    """What is explained.

    Attributes:
        model: In eval mode.
        number: How many examples there are.
        batches: Makes batches of some rows; the rows come in another order.
        read_outs: ``{what a table says: where relevance is read}``.
        accuracy: Of the model on the examples.
        replacement: What takes a token's place, in a few words.
        tokenizer: Tells explainers what is special.
    """

    model: nn.Module
    number: int
    batches: Callable[[Sequence[int]], Iterator[tuple[list[int], Batch]]]
    read_outs: Mapping[str, str | None]
    accuracy: float
    replacement: str
    tokenizer: Any


def texts(setting: Mapping[str, Any], shared: Path) -> Case:
    """Take a model of texts, as the paper does.

    As in its code all tokens are ranked and replaced, special ones too, and the model
    sees no attention mask; texts of a batch are of one length, so that none is padded.

    Args:
        setting: Of `config.json`; ``"published": false`` keeps special tokens.
        shared: The folder of models and data.

    Returns:
        The case.
    """
    task, name = setting["task"], setting["model"]
    published = setting.get("published", True)
    if name == ATTENTION_ONLY:
        embeddings, tokenizer = attention_only.load_embeddings(
            shared / "models" / EMBEDDINGS
        )
        model, about = attention_only.load(WEIGHTS / task, embeddings)
        where, seed = "embeddings.", about["settings"]["seed"]
    else:
        from lrp_hooks.texts.loading import load_folder

        model, tokenizer = load_folder(shared / "models" / name)
        where, seed = "bert.embeddings.", 0
    held_out = read(task, shared / "data", seed).held_out
    examples = Tweets(tokenizer, held_out, LONGEST[task])

    def batches(rows: Sequence[int]) -> Iterator[tuple[list[int], Batch]]:
        for part in _alike(rows, lambda row: len(examples.ids[row])):
            ids = torch.tensor([examples.ids[row] for row in part])
            inputs = {"input_ids": ids}
            occlusion = Occlusion(
                model,
                inputs,
                tokenizer.unk_token_id,
                special_ids=tokenizer.all_special_ids,
                published=published,
            )
            yield part, Batch(inputs, examples.labels[part], occlusion)

    return Case(
        model,
        len(examples),
        batches,
        {
            "embedding LayerNorm": f"{where}LayerNorm",
            "word embeddings": f"{where}word_embeddings",
        },
        round(assess(model, examples.batches(64)).accuracy, 4),
        "[UNK], also of special tokens" if published else "[UNK], special tokens stay",
        tokenizer,
    )


def molecules(setting: Mapping[str, Any], shared: Path) -> Case:
    """Take a graph Transformer of molecules, and all molecules of its task.

    Args:
        setting: Of `config.json`.
        shared: The folder of models and data.

    Returns:
        The case; seven of ten molecules were trained on.
    """
    task = setting["task"]
    model, _ = molecule_train.load(task)
    every = molecule_data.read(task, shared / "data" / "molecules")
    examples = molecule_train.Examples.of(every)
    sizes = examples.sizes

    def batches(rows: Sequence[int]) -> Iterator[tuple[list[int], Batch]]:
        for part in _few(sorted(rows, key=lambda row: int(sizes[row]))):
            ((inputs, labels),) = examples.batches([torch.tensor(part)])
            occlusion = Occlusion(model, inputs, UNKNOWN, special_ids=(VIRTUAL,))
            yield part, Batch(inputs, labels, occlusion)

    outputs = ((model(**inputs), labels) for inputs, labels in _all(examples, sizes))
    with torch.no_grad():
        right = [(out.argmax(-1) == labels).double() for out, labels in outputs]
    return Case(
        model,
        len(every.labels),
        batches,
        {"atom embeddings": None},
        round(float(torch.cat(right).mean()), 4),
        "unknown atom; the virtual node stays",
        TOKENIZER,
    )


def superpixels(setting: Mapping[str, Any], shared: Path) -> Case:
    """Take a graph Transformer of superpixels, and the digits it was not trained on.

    Args:
        setting: Of `config.json`.
        shared: The folder of models and data.

    Returns:
        The case.
    """
    from .superpixels import data, train

    model, about = train.load()
    digits = data.read(shared / "data" / "mnist10k")
    rows_ = data.held_out(len(digits.labels))
    sizes = [len(digits.graphs[row].features) for row in rows_]

    def batches(rows: Sequence[int]) -> Iterator[tuple[list[int], Batch]]:
        for part in _alike(rows, lambda row: sizes[row]):
            places = [rows_[row] for row in part]
            inputs = data.collate([digits.graphs[place] for place in places])
            occlusion = Occlusion(model, inputs, 0.0)
            yield part, Batch(inputs, digits.labels[places], occlusion)

    return Case(
        model,
        len(rows_),
        batches,
        {"brightness": "features", "superpixels' embeddings": "embedded"},
        about["held_out"]["accuracy"],
        "brightness of nought",
        SimpleNamespace(all_special_ids=[], unk_token_id=None, pad_token_id=None),
    )


CASES = {"text": texts, "molecules": molecules, "superpixels": superpixels}


def _alike(rows: Sequence[int], size: Callable[[int], int]) -> Iterator[list[int]]:
    """Yield rows of one size, few at a time."""
    for _, own in groupby(sorted(rows, key=size), key=size):
        yield from _few(list(own))


def _few(rows: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(rows), SIZE):
        yield rows[start : start + SIZE]


def _all(examples: Any, sizes: Tensor) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    yield from examples.batches(sizes.argsort().split(64))
