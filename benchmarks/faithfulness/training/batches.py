"""Splits and batches, each a function of a seed."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """What one step sees.

    Attributes:
        inputs: Keyword arguments of the model.
        labels: Classes, ``[B]``.
    """

    inputs: dict[str, Tensor]
    labels: Tensor


def split(number: int, held_out: int, seed: int) -> tuple[Tensor, Tensor]:
    """Split examples at random.

    Args:
        number: How many there are.
        held_out: How many are not trained on.
        seed: Of the permutation.

    Returns:
        Indices to train on, ``[number - held_out]``, and the others, ``[held_out]``.

    Raises:
        ValueError: If one of the two were empty.
    """
    if not 0 < held_out < number:
        raise ValueError(
            f"held_out={held_out} of {number} examples leaves one side empty; choose a "
            f"number from 1 to {number - 1}."
        )
    order = torch.randperm(number, generator=torch.Generator().manual_seed(seed))
    return order[: number - held_out], order[number - held_out :]


def buckets(
    lengths: Tensor, size: int, generator: torch.Generator, pool: int = 16
) -> list[Tensor]:
    """Shuffle examples into batches of similar lengths.

    Args:
        lengths: Of each example, ``[N]``.
        size: Examples in a batch; the last of a pool may have fewer.
        generator: Draws the order.
        pool: Batches that are sorted together. More waste less padding and mix less.

    Returns:
        Indices of each batch; every example is in one of them.
    """
    order = torch.randperm(len(lengths), generator=generator)
    found: list[Tensor] = []
    for part in order.split(size * pool):
        found += part[lengths[part].argsort()].split(size)
    return [found[i] for i in torch.randperm(len(found), generator=generator)]


def macro_f1(predicted: Tensor, labels: Tensor) -> float:
    """Average F1 over the classes that occur.

    Args:
        predicted: Classes, ``[N]``.
        labels: True classes, ``[N]``.

    Returns:
        The unweighted mean of ``2 TP / (2 TP + FP + FN)``.
    """
    scores = []
    for kind in torch.cat([predicted, labels]).unique():
        hits = ((predicted == kind) & (labels == kind)).sum()
        total = (predicted == kind).sum() + (labels == kind).sum()
        scores.append(2 * hits / total)
    return float(torch.stack(scores).mean())
