"""Reactions whose reacting atoms are known, made by templates from building blocks.

``python -m benchmarks.faithfulness.chemistry.reactions`` writes ``reactions.json``.
Building blocks are a group, a core and a substituent put together; a SMARTS template
turns them into a product and says which atoms change (RDKit).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...command import without_arguments

HERE = Path(__file__).parent
DATA = HERE / "reactions.json"
_ATOM = re.compile(r"\[[^\]]+\]|Br|Cl|[BCNOPSFIbcnops*]")


class Reaction(NamedTuple):
    """A reaction, and where its string names the atoms that change.

    Attributes:
        name: The template's.
        smiles: ``A.B>>C``.
        reactants: Where atoms that change, or leave, start on the left.
        product: Where the atoms that changed start on the right.
    """

    name: str
    smiles: str
    reactants: list[int]
    product: list[int]


def main() -> None:
    """Make the reactions of the configuration."""
    config = json.loads((HERE / "config.json").read_text(encoding="utf-8"))
    lines = ",\n".join(json.dumps(r._asdict()) for r in make_all(config))
    DATA.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def load() -> list[Reaction]:
    """Read the reactions."""
    found = json.loads(DATA.read_text(encoding="utf-8"))
    return [Reaction(**entry) for entry in found]


def make_all(config: dict[str, Any]) -> list[Reaction]:
    """Draw building blocks for every template.

    Args:
        config: Templates, building blocks, how many reactions of each, and the seed.

    Returns:
        Distinct reactions, none of which is a textbook case.
    """
    found = []
    for name, template in config["reactions"].items():
        choices = [blocks(config, slot) for slot in template["reactants"]]
        draw = random.Random(f"{config['seed']} {name}")
        seen = set(template["textbook"])
        wanted = len(found) + config["reactions_each"]
        while len(found) < wanted:
            reaction = react(name, template["smarts"], list(map(draw.choice, choices)))
            if reaction is not None and reaction.smiles not in seen:
                seen.add(reaction.smiles)
                found.append(reaction)
    return found


def blocks(config: dict[str, Any], slot: Sequence[str]) -> list[str]:
    """Put a group on every core with every substituent.

    Args:
        config: Has the cores and the substituents.
        slot: Alternatives ``"group@kind of core"``.

    Returns:
        SMILES.
    """
    split = [alternative.split("@") for alternative in slot]
    return [
        core.format(g=group, s=substituent)
        for group, kind in split
        for core in config["cores"][kind]
        for substituent in config["substituents"]
    ]


def react(name: str, smarts: str, reactants: Sequence[str]) -> Reaction | None:
    """Apply a template.

    Args:
        name: The template's.
        smarts: The template; atoms without a number leave.
        reactants: SMILES, one for each of its reactants.

    Returns:
        The reaction, or ``None`` where the template could act at several places, within
        one reactant or because another one reacts as well.
    """
    from rdkit import Chem
    from rdkit.Chem import AllChem

    template = AllChem.ReactionFromSmarts(smarts)
    template.Initialize()
    parts = [Chem.MolFromSmiles(smiles) for smiles in reactants]
    patterns = template.GetReactants()
    matches = [[m.GetSubstructMatches(p) for p in patterns] for m in parts]
    for i, row in enumerate(matches):
        if [len(hits) for hits in row] != [int(i == j) for j in range(len(row))]:
            return None
    product = template.RunReactants(parts)[0][0]
    Chem.SanitizeMol(product)
    left, centre, numbers = [], [], set()
    for i, (part, changing) in enumerate(
        zip(parts, template.GetReactingAtoms(), strict=True)
    ):
        left.append((part, {matches[i][i][0][a] for a in changing}))
        numbers |= {patterns[i].GetAtomWithIdx(a).GetAtomMapNum() for a in changing}
    formed = {
        atom.GetIdx()
        for atom in product.GetAtoms()
        if atom.HasProp("old_mapno") and atom.GetIntProp("old_mapno") in numbers
    }
    smiles = ""
    for text, places in sorted(write(*one) for one in left):
        smiles += "." if smiles else ""
        centre += [len(smiles) + place for place in places]
        smiles += text
    text, places = write(product, formed)
    start = len(smiles) + len(">>")
    return Reaction(name, f"{smiles}>>{text}", centre, [start + p for p in places])


def write(molecule: Any, atoms: set[int]) -> tuple[str, list[int]]:
    """Write a molecule as SMILES.

    Args:
        molecule: RDKit's.
        atoms: Indices of atoms.

    Returns:
        The canonical SMILES, and where in it these atoms start.
    """
    from rdkit import Chem

    smiles = Chem.MolToSmiles(molecule)
    order = list(molecule.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
    starts = [found.start() for found in _ATOM.finditer(smiles)]
    named = zip(order, starts, strict=True)
    return smiles, [start for atom, start in named if atom in atoms]


def tokens_at(offsets: Sequence[tuple[int, int]], starts: Sequence[int]) -> list[bool]:
    """Tell which tokens hold characters.

    Args:
        offsets: The first and one past the last character of each token.
        starts: Places of characters.

    Returns:
        For each token, whether one of these characters is in it.
    """
    return [any(first <= s < end for s in starts) for first, end in offsets]


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
