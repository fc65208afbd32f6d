"""Relevance of atoms, drawn on the molecule; the only file that imports rdkit."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import ArgumentError
from ..support.extras import require
from ..support.text import REPLACEMENT, cell_width, decimals, signed, visible
from .colour import LEVELS, level, rgb

if TYPE_CHECKING:
    from rdkit.Chem import Mol

__all__ = ["molecule", "read_smiles"]

LEGEND_HEIGHT = 48
LETTER_WIDTH = 5.8  # pixels of the legend's title, about
BAR_WIDTH = 200
RADIUS = 0.5  # of a coloured atom, where a bond is 1.5 long
BOND_LENGTH = 40  # pixels, at most: small molecules are not blown up
LEAST_SIDE = 100  # pixels; less has no room for the legend


def read_smiles(smiles: str) -> Mol:
    """Read a molecule, without what rdkit has to say about it.

    Args:
        smiles: Its SMILES; hydrogens are implicit.

    Returns:
        The molecule, its atoms in the order of the SMILES.

    Raises:
        ArgumentError: If it cannot be read, or has no atom.
    """
    require("rdkit", "molecules", "a molecule")
    from rdkit import Chem, rdBase

    if not isinstance(smiles, str):
        raise ArgumentError(
            f"smiles is a {type(smiles).__name__}; it must be a string such as 'CCO'."
        )
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
    if mol is None or not mol.GetNumAtoms():
        shown = smiles if len(smiles) <= 80 else f"{smiles[:80]}..."
        raise ArgumentError(
            f"smiles={shown!r} is no molecule that rdkit can read; it must be the "
            "SMILES of at least one atom, such as 'CCO'."
        )
    return mol


def molecule(
    smiles: str,
    scores: Sequence[float] | Tensor,
    *,
    legend: str = "relevance",
    scale: float | None = None,
    width: int = 480,
    height: int = 360,
) -> str:
    """Draw a molecule whose atoms are coloured by signed relevance.

    Args:
        smiles: The molecule.
        scores: One number for each atom ``[N]``, in the order of the SMILES.
        legend: The title of the legend.
        scale: The score of full colour. Defaults to ``None``: the largest there is.
        width: In pixels.
        height: In pixels, of the molecule and the legend together.

    Returns:
        A self-contained SVG; each atom shows its score as a tooltip.

    Raises:
        ArgumentError: If the SMILES cannot be read, if there is not one finite score
            for each atom, or if the scale or a side is too small.
    """  # noqa: DOC502 (raised by functions)
    mol = read_smiles(smiles)
    values = _checked(mol, scores)
    _check_sizes(scale, width=width, height=height)
    top = max(map(abs, values)) if scale is None else float(scale)
    drawing, places = _structure(mol, values, top, width, height - LEGEND_HEIGHT)
    return "".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{_escaped(legend)}">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        drawing,
        *_tooltips(mol, values, places),
        *_legend(legend, top, width, height - LEGEND_HEIGHT),
        "</svg>",
    ])


def _check_sizes(scale: float | None, **sides: int) -> None:
    """Refuse a scale that is none, and pictures without room."""
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise ArgumentError(f"scale={scale!r} must be a positive number, or None.")
    for name, side in sides.items():
        if side < LEAST_SIDE:
            raise ArgumentError(f"{name}={side!r} must be {LEAST_SIDE} pixels or more.")


def _escaped(text: str) -> str:
    """Escape a text for XML, which holds no noncharacters."""
    return html.escape(visible(text)).translate({
        0xFFFE: REPLACEMENT,
        0xFFFF: REPLACEMENT,
    })


def _checked(mol: Mol, scores: Sequence[float] | Tensor) -> list[float]:
    """Return one finite score for each atom."""
    values = scores.tolist() if isinstance(scores, Tensor) else list(scores)
    count = mol.GetNumAtoms()
    flat = not any(isinstance(value, list) for value in values)
    if not flat or len(values) != count:
        came = tuple(scores.shape) if isinstance(scores, Tensor) else len(values)
        raise ArgumentError(
            f"scores has shape {came} for a molecule of {count} atoms; pass one "
            "number for each atom of the SMILES, without hydrogens and virtual nodes."
        )
    wrong = [i for i, value in enumerate(values) if not math.isfinite(value)]
    if wrong:
        raise ArgumentError(
            f"scores holds {values[wrong[0]]} at atom {wrong[0]}; all must be finite."
        )
    return [float(value) for value in values]


def _structure(
    mol: Mol, values: list[float], top: float, width: int, height: int
) -> tuple[str, list[tuple[float, float]]]:
    """Return rdkit's drawing, an inner ``<svg>``, and where its atoms are."""
    from rdkit.Chem.Draw import rdMolDraw2D

    drawer = rdMolDraw2D.MolDraw2DSVG(width, height)
    options: Any = drawer.drawOptions()
    options.useBWAtomPalette()  # colours mean relevance alone
    options.clearBackground = False
    options.highlightRadius = RADIUS
    options.fixedBondLength = BOND_LENGTH
    options.atomHighlightsAreCircles = True
    steps = {atom: level(value, top) for atom, value in enumerate(values)}
    colours = {
        atom: tuple(part / 255 for part in rgb(step))
        for atom, step in steps.items()
        if step
    }
    rdMolDraw2D.PrepareAndDrawMolecule(
        drawer, mol, highlightAtoms=list(colours), highlightAtomColors=colours
    )
    points = [drawer.GetDrawCoords(atom) for atom in range(len(values))]
    drawer.FinishDrawing()
    text: str = drawer.GetDrawingText()
    return text[text.index("<svg") :].strip(), [(p.x, p.y) for p in points]


def _tooltips(
    mol: Mol, values: list[float], places: list[tuple[float, float]]
) -> list[str]:
    """Lay invisible circles over the atoms that say their scores."""
    digits = decimals(max(map(abs, values)))
    return [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9" fill="transparent"><title>'
        f"{atom.GetSymbol()}{atom.GetIdx()}: "
        f"{signed(value, digits)}</title></circle>"
        for atom, value, (x, y) in zip(mol.GetAtoms(), values, places, strict=True)
    ]


def _legend(title: str, top: float, width: int, y: int) -> list[str]:
    """Draw the scale: its title, a bar of all levels, and its ends."""
    left, step = (width - BAR_WIDTH) / 2, BAR_WIDTH / (2 * LEVELS + 1)
    bar = [
        f'<rect x="{left + (number + LEVELS) * step:.2f}" y="{y + 20}" '
        f'width="{step + 0.1:.2f}" height="10" fill="rgb{rgb(number)}"/>'
        for number in range(-LEVELS, LEVELS + 1)
    ]
    places = decimals(top)
    marks = [(0.0, signed(-top, places)), (0.5, "0"), (1.0, signed(top, places))]
    font = 'font-family="sans-serif" fill="#000" text-anchor="middle"'
    wide = LETTER_WIDTH * cell_width(visible(title)) > width - 10
    fit = f'textLength="{width - 10}" lengthAdjust="spacingAndGlyphs" ' if wide else ""
    return [
        f'<text x="{width / 2}" y="{y + 14}" font-size="13" {fit}{font}>'
        f"{_escaped(title)}</text>",
        *bar,
        *[
            f'<text x="{left + share * BAR_WIDTH:.1f}" y="{y + 43}" font-size="11" '
            f"{font}>{mark}</text>"
            for share, mark in marks
        ],
    ]
