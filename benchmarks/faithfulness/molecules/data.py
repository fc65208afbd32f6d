"""BACE and ClinTox (MoleculeNet): distinct molecules, labels and splits."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lrp_hooks.render.molecule import read_smiles


class Task(NamedTuple):
    """A file and what it says.

    Attributes:
        smiles: The column of SMILES.
        label: The column of labels, 0 or 1.
        meaning: What the label 1 says.
    """

    smiles: str
    label: str
    meaning: str


TASKS = {
    "bace": Task("mol", "Class", "inhibits beta-secretase 1"),
    "clintox": Task("smiles", "CT_TOX", "failed trials for toxicity"),
}
SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}


class Molecules(NamedTuple):
    """Molecules and their classes.

    Attributes:
        smiles: One each.
        labels: ``[M]``.
    """

    smiles: list[str]
    labels: Tensor


def read(task: str, folder: Path) -> Molecules:
    """Read a task.

    Args:
        task: A name in `TASKS`.
        folder: Where ``<task>.csv.gz`` is.

    Returns:
        Its distinct molecules in the spelling that comes first, with the label 1 if any
        spelling has it.
    """
    from rdkit import Chem

    columns = TASKS[task]
    labels: dict[str, int] = {}
    spellings: dict[str, str] = {}
    with gzip.open(folder / f"{task}.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = Chem.MolToSmiles(read_smiles(row[columns.smiles]))
            spellings.setdefault(key, row[columns.smiles])
            labels[key] = max(labels.get(key, 0), int(row[columns.label]))
    return Molecules(list(spellings.values()), torch.tensor(list(labels.values())))


def split(molecules: Molecules, seed: int) -> dict[str, Molecules]:
    """Split molecules at random, each class in the same shares.

    Args:
        molecules: All of them.
        seed: Of the permutations.

    Returns:
        Disjoint parts by the names of `SHARES`.
    """
    generator = torch.Generator().manual_seed(seed)
    parts: dict[str, list[int]] = {name: [] for name in SHARES}
    for label in molecules.labels.unique():
        places = (molecules.labels == label).nonzero()[:, 0]
        places = places[torch.randperm(len(places), generator=generator)]
        end, passed = 0, 0.0
        for name, share in SHARES.items():
            start, passed = end, passed + share
            end = round(passed * len(places))
            parts[name] += places[start:end].tolist()
    return {
        name: Molecules([molecules.smiles[i] for i in rows], molecules.labels[rows])
        for name, rows in parts.items()
    }
