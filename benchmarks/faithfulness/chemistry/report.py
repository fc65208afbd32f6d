"""Turn results into tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..plausibility.record import Results, environment, number, rows

RESULTS = Path(__file__).with_name("results.json")
MAIN = "reactants, signed, auroc"
COLUMNS = (
    MAIN,
    "reactants, absolute, auroc",
    "reactants, signed, auprc",
    "reactants, signed, token_f1",
    "atoms, signed, auroc",
    "both sides, signed, auroc",
)
ARROWS = {
    "activation": "↑",
    "pruning": "↓",
    "aopc": "↑",
    "comprehensiveness": "↑",
    "sufficiency": "↓",
    "lerf_morf": "↑",
}


def table(results: Results) -> str:
    """Write everything as Markdown.

    Args:
        results: What a run saved.

    Returns:
        For each model the reactions, plausibility, faithfulness, and plausibility by
        kind of reaction; and what was run.
    """
    parts = []
    for name, part in results["models"].items():
        parts += [
            heading(name, part),
            plausibility(part),
            faithfulness(part),
            kinds(part),
        ]
    return "\n\n".join([*parts, environment(results)])


def heading(name: str, part: dict[str, Any]) -> str:
    """Say which reactions the model was right about."""
    kept, made = (sum(column) for column in zip(*part["kept"].values(), strict=True))
    least = min(entry["least"] for entry in part["classes"].values())
    return (
        f"{name}: {kept} of {made} reactions kept ({kept / made:.1%}), of "
        f"{len(part['classes'])} kinds; textbook cases at p of at least {least:.4f}."
    )


def plausibility(part: dict[str, Any]) -> str:
    """Write how well scores find the atoms that change, the best on top."""
    lines = [
        [
            name,
            *[number(entry["plausibility"][column]) for column in COLUMNS],
            str(entry["reactions"]),
            f"{1000 * entry['seconds'] / entry['reactions']:.0f}",
        ]
        for name, entry in _ordered(part)
    ]
    return rows(["method", *COLUMNS, "reactions", "ms a reaction"], lines)


def faithfulness(part: dict[str, Any]) -> str:
    """Write how the model follows scores."""
    measured = [(n, e["faithfulness"]) for n, e in _ordered(part) if e["faithfulness"]]
    names = list(measured[0][1])
    lines = [[n, *[number(entry[name]) for name in names]] for n, entry in measured]
    head = [f"{name} {ARROWS[name]}" for name in names]
    return rows(["method", *head], lines)


def kinds(part: dict[str, Any]) -> str:
    """Write the first column for each kind of reaction."""
    names = list(part["classes"])
    head = [f"{name} ({part['classes'][name]['class']})" for name in names]
    lines = [
        [method, *[f"{entry['by_reaction'][name]:.2f}" for name in names]]
        for method, entry in _ordered(part)
    ]
    return rows([f"{MAIN}: method", *head], lines)


def _ordered(part: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Put the best first, and methods that explained fewer reactions last."""

    def rank(item: tuple[str, dict[str, Any]]) -> tuple[int, float]:
        entry = item[1]
        return -entry["reactions"], -entry["plausibility"][MAIN]["mean"]

    return sorted(part["methods"].items(), key=rank)
