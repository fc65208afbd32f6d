"""Molecules as graphs, and graphs as padded batches.

Position 0 is a virtual node that is joined to every atom (Ying et al. 2021, "Do
Transformers Really Perform Badly for Graph Representation?", section 3.2). Nothing
depends on the order of atoms: where several shortest paths join two of them, bonds
count as often as paths use them.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrp_hooks.render.molecule import read_smiles

PAD, VIRTUAL, UNKNOWN = range(3)
"""Ids of what is no atom; `UNKNOWN` stands for an atom that is not shown."""

ELEMENTS = ("C", "N", "O", "S", "F", "Cl", "Br", "I", "P", "B", "Si", "other")
CHARGES = (-1, 0, 1)
HYDROGENS = (0, 1, 2, 3)
N_TOKENS = 3 + len(ELEMENTS) * len(CHARGES) * len(HYDROGENS) * 2

MOST_NEIGHBOURS = 5  # more count as as many
FARTHEST = 20  # longer distances count as this one
APART, TO_VIRTUAL = FARTHEST + 1, FARTHEST + 2  # no path; from or to the virtual node
N_DISTANCES = FARTHEST + 3

BONDS = ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC", "other")
HOPS = 4  # bonds of a path that are told apart by their place
N_EDGES = HOPS * len(BONDS)

TOKENIZER = SimpleNamespace(
    all_special_ids=[PAD, VIRTUAL], unk_token_id=UNKNOWN, pad_token_id=PAD
)
"""Tells explainers that perturb which tokens are special and what stands for others."""


class Graph(NamedTuple):
    """A molecule of ``N - 1`` atoms and the virtual node.

    Attributes:
        atoms: Token ids ``[N]``.
        degrees: Numbers of bonds ``[N]``; 0 for the virtual node.
        distances: Kinds of distance ``[N, N]``.
        edges: Shares of bond types in the first hops of shortest paths,
            ``[N, N, N_EDGES]``; they sum to 1 over the last dimension where there is
            a path.
    """

    atoms: Tensor
    degrees: Tensor
    distances: Tensor
    edges: Tensor


def graph(smiles: str) -> Graph:
    """Read a molecule.

    Args:
        smiles: Its SMILES.

    Returns:
        Its graph, atoms in the order of the SMILES.
    """
    mol = read_smiles(smiles)
    from rdkit import Chem

    hops = torch.from_numpy(Chem.GetDistanceMatrix(mol)).long()  # 1e8 without a path
    size = len(hops) + 1
    distances = torch.full((size, size), TO_VIRTUAL)
    kinds = hops.clamp(max=FARTHEST)
    distances[1:, 1:] = torch.where(hops < len(hops), kinds, APART)
    distances[0, 0] = 0
    edges = torch.zeros(size, size, N_EDGES)
    edges[1:, 1:] = _path_bonds(hops, *_bonds(mol))
    degrees = [min(atom.GetDegree(), MOST_NEIGHBOURS) for atom in mol.GetAtoms()]
    return Graph(
        torch.tensor([VIRTUAL, *map(token, mol.GetAtoms())]),
        torch.tensor([0, *degrees]),
        distances,
        edges,
    )


def token(atom: Any) -> int:
    """Number an atom by element, charge, hydrogens and aromaticity.

    Args:
        atom: An atom of rdkit's.

    Returns:
        From ``UNKNOWN + 1`` to ``N_TOKENS - 1``.
    """
    element = _index(ELEMENTS, atom.GetSymbol())
    charge = max(-1, min(1, atom.GetFormalCharge())) + 1
    hydrogens = min(atom.GetTotalNumHs(), HYDROGENS[-1])
    number = (element * len(CHARGES) + charge) * len(HYDROGENS) + hydrogens
    return UNKNOWN + 1 + 2 * number + bool(atom.GetIsAromatic())


def collate(graphs: Sequence[Graph]) -> dict[str, Tensor]:
    """Pad graphs to one size.

    Args:
        graphs: B of them, of up to N positions.

    Returns:
        ``atoms``, ``degrees`` and ``attention_mask`` ``[B, N]``, ``distances``
        ``[B, N, N]`` and ``edges`` ``[B, N, N, N_EDGES]``.
    """
    size = max(len(each.atoms) for each in graphs)
    batch = {
        name: torch.stack([_padded(getattr(each, name), size) for each in graphs])
        for name in Graph._fields
    }
    return {**batch, "attention_mask": (batch["atoms"] != PAD).long()}


def _index(known: Sequence[str], name: str) -> int:
    return known.index(name) if name in known else len(known) - 1


def _bonds(mol: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return both directions of each bond: from, to, type."""
    found = [
        (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), str(bond.GetBondType()))
        for bond in mol.GetBonds()
    ]
    both = [(u, v, _index(BONDS, t)) for a, b, t in found for u, v in ((a, b), (b, a))]
    starts, ends, types = torch.tensor(both, dtype=torch.long).view(-1, 3).T
    return starts, ends, types


def _path_bonds(hops: Tensor, starts: Tensor, ends: Tensor, types: Tensor) -> Tensor:
    """Return the share of each bond type at each hop, over all shortest paths."""
    paths = _count_paths(hops, starts, ends)
    on = hops[:, starts, None] + 1 + hops[ends] == hops[:, None]  # [N, E, N]
    share = paths[:, starts, None] * paths[ends] / paths[:, None].clamp(min=1) * on
    kinds = torch.nn.functional.one_hot(types, len(BONDS)).double()
    found = [
        torch.einsum("ie,iej,et->ijt", (hops[:, starts] == hop).double(), share, kinds)
        for hop in range(HOPS)
    ]
    return (torch.cat(found, 2) / hops.clamp(1, HOPS)[..., None]).float()


def _count_paths(hops: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """Count the shortest paths between atoms, ``[N, N]``."""
    bonded = torch.zeros(hops.shape, dtype=torch.double)
    bonded[starts, ends] = 1
    paths = (hops == 0).double()
    reached = hops[hops < len(hops)]
    for length in range(1, int(reached.max()) + 1):
        before = torch.where(hops == length - 1, paths, 0)
        paths = torch.where(hops == length, before @ bonded, paths)
    return paths


def _padded(tensor: Tensor, size: int) -> Tensor:
    """Fill a tensor up with zeros, but for its last dimension where it has three."""
    missing = size - len(tensor)
    at_end = [0, missing] * min(tensor.ndim, 2)
    return torch.nn.functional.pad(
        tensor, [0, 0, *at_end] if tensor.ndim == 3 else at_end
    )
