"""Draw a molecule: ``python -m benchmarks.faithfulness.molecules.draw --help``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from lrp_hooks import LrpHooksError, explain
from lrp_hooks.render.molecule import molecule

from .data import TASKS
from .graphs import collate, graph
from .train import WEIGHTS, load


def main() -> int:
    """Draw one molecule.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smiles", required=True)
    parser.add_argument("--task", choices=TASKS, default="bace")
    parser.add_argument("--rules", default="conservative", help="a rule set")
    parser.add_argument("--target", type=int, choices=(0, 1), default=1)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--out", type=Path, required=True, help="an SVG file")
    chosen = parser.parse_args()
    try:
        text = draw(
            chosen.smiles, chosen.task, chosen.rules, chosen.target, chosen.weights
        )
    except LrpHooksError as error:
        print(error, file=sys.stderr)
        return 2
    chosen.out.write_text(text, encoding="utf-8")
    return 0


def draw(
    smiles: str,
    task: str,
    rules: str = "conservative",
    target: int = 1,
    weights: Path = WEIGHTS,
) -> str:
    """Explain what a trained model says of a molecule, and draw it.

    Args:
        smiles: The molecule.
        task: A name in `TASKS`.
        rules: A rule set.
        target: The class that is explained.
        weights: The folder of the model.

    Returns:
        An SVG.
    """
    model, _ = load(task, weights)
    batch = collate([graph(smiles)])
    relevance = explain(model, batch, rules=rules, target=target)
    with torch.no_grad():
        chance = float(model(**batch).softmax(-1)[0, 1])
    says = f"{TASKS[task].meaning}: p = {chance:.2f}"
    return molecule(
        smiles,
        relevance.scores[0, 1:],
        legend=f"{rules}: relevance for class {target}  ({says})",
    )


if __name__ == "__main__":
    sys.exit(main())
