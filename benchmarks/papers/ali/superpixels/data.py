"""MNIST as graphs: superpixels by SLIC, joined where they touch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ....faithfulness.training.batches import split
from ....faithfulness.training.vit import HELD_OUT, SPLIT_SEED

__all__ = ["Digits", "Graph", "collate", "graph", "held_out", "read"]

SEGMENTS = 75  # asked for; there are some more or fewer
COMPACTNESS = 0.1


class Graph(NamedTuple):
    """A picture of N superpixels.

    Attributes:
        features: Mean brightness, 0 to 1, ``[N]``.
        places: Centres, -1 to 1, ``[N, 2]``.
        adjacent: Whether two touch, boolean ``[N, N]``.
    """

    features: Tensor
    places: Tensor
    adjacent: Tensor


class Digits(NamedTuple):
    """Pictures and what they show.

    Attributes:
        graphs: One each.
        labels: Digits, ``[M]``.
    """

    graphs: list[Graph]
    labels: Tensor


def read(folder: Path) -> Digits:
    """Read all digits.

    Args:
        folder: Holds ``mnist_t10k.npz``.

    Returns:
        10,000 of them.
    """
    with np.load(folder / "mnist_t10k.npz") as arrays:
        pictures, labels = arrays["x"] / 255.0, torch.tensor(arrays["y"]).long()
    return Digits([graph(picture) for picture in pictures], labels)


def held_out(number: int) -> list[int]:
    """Return the rows that are not trained on, those of ``vit-tiny-mnist``."""
    return split(number, number * HELD_OUT // 10000, SPLIT_SEED)[1].tolist()


def graph(picture: np.ndarray) -> Graph:
    """Cut a picture into superpixels.

    Args:
        picture: Brightness from 0 to 1, [H, W].

    Returns:
        Their graph.
    """
    from skimage.segmentation import slic

    cut = slic(picture, SEGMENTS, COMPACTNESS, channel_axis=None, start_label=0)
    names, cut = np.unique(cut, return_inverse=True)
    cut = cut.reshape(picture.shape)
    number, own = len(names), cut.ravel()
    count = np.bincount(own, minlength=number)
    rows, columns = np.mgrid[
        -1 : 1 : picture.shape[0] * 1j, -1 : 1 : picture.shape[1] * 1j
    ]
    means = [
        np.bincount(own, weights=values.ravel(), minlength=number) / count
        for values in (picture, rows, columns)
    ]
    features, down, right = (torch.tensor(mean).float() for mean in means)
    adjacent = torch.eye(number, dtype=torch.bool)
    for one, other in ((cut[1:], cut[:-1]), (cut[:, 1:], cut[:, :-1])):
        adjacent[one.ravel(), other.ravel()] = True
    return Graph(
        features,
        torch.stack([down, right], 1),
        adjacent | adjacent.T,
    )


def collate(graphs: Sequence[Graph]) -> dict[str, Tensor]:
    """Pad graphs to one size.

    Args:
        graphs: B of them, of up to N superpixels.

    Returns:
        ``features`` [B, N], ``places`` [B, N, 2], ``adjacent`` [B, N, N], and
        ``attention_mask`` [B, N] where some are padded.
    """
    sizes = [len(each.features) for each in graphs]
    most = max(sizes)
    found = {
        "features": torch.zeros(len(graphs), most),
        "places": torch.zeros(len(graphs), most, 2),
        "adjacent": torch.zeros(len(graphs), most, most, dtype=torch.bool),
    }
    for row, (each, size) in enumerate(zip(graphs, sizes, strict=True)):
        found["features"][row, :size] = each.features
        found["places"][row, :size] = each.places
        found["adjacent"][row, :size, :size] = each.adjacent
    if len(set(sizes)) > 1:
        places = torch.arange(most)
        found["attention_mask"] = (places < torch.tensor(sizes)[:, None]).long()
    return found
