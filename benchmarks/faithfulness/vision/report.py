"""Turn results into tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..orderings import ELSEWHERE, verdict
from ..plausibility.record import Results, environment, number, rows
from .reading import CELLS

RESULTS = Path(__file__).with_name("results.json")
BLACK, MEAN, ABSOLUTE = "black, signed", "mean, signed", "black, absolute"
COLUMNS = {
    "AUAC": (BLACK, "activation"),
    "AU-MSE": (BLACK, "pruning"),
    "AOPC": (BLACK, "aopc"),
    "deletion": (BLACK, "deletion"),
    "insertion": (BLACK, "insertion"),
    "comprehensiveness": (BLACK, "comprehensiveness"),
    "sufficiency": (BLACK, "sufficiency"),
    "LeRF - MoRF": (BLACK, "lerf_morf"),
    "AUAC, absolute": (ABSOLUTE, "activation"),
    "LeRF - MoRF, absolute": (ABSOLUTE, "lerf_morf"),
    "AUAC, mean pixel": (MEAN, "activation"),
    "LeRF - MoRF, mean pixel": (MEAN, "lerf_morf"),
}
MAIN = "AUAC"


def table(results: Results) -> str:
    """Write everything as Markdown.

    Args:
        results: What a run saved.

    Returns:
        Two tables for each model, of patches and of pixels, one of the published
        orderings, and what was run.
    """
    parts = []
    for name, part in results["models"].items():
        for cells in CELLS:
            parts += [heading(name, part, cells, results["config"]), one(part, cells)]
    return "\n\n".join([*parts, orderings(results), environment(results)])


def heading(name: str, part: dict[str, Any], cells: str, config: Any) -> str:
    """Say what a table shows."""
    side = part["patch"]
    size = f"{cells} of {side} x {side}" if cells == "patches" else f"single {cells}"
    return (
        f"{name} ({part['layers']} layers, accuracy {part['accuracy']:.4f} on held-out "
        f"digits), {config['images']} digits, {size}, the best by AUAC on top; AUAC "
        f"with its {100 * config['confidence']:.0f} % interval:"
    )


def one(part: dict[str, Any], cells: str) -> str:
    """Write one model's table at one resolution.

    Args:
        part: The model's results.
        cells: ``"patches"`` or ``"pixels"``.

    Returns:
        A Markdown table; its last line has the widest interval's half of each column.
    """
    entries = {
        (method, read): entry
        for method, entry in part["methods"].items()
        for read in entry["milliseconds"]
        if f"{read}, {cells}, {BLACK}" in entry["metrics"]
    }

    def shown(key: tuple[str, str], column: str) -> dict[str, float] | None:
        setting, metric = COLUMNS[column]
        row = f"{key[1]}, {cells}, {setting}"
        found: dict[str, float] | None
        found = entries[key]["metrics"].get(row, {}).get(metric)
        return found

    best = sorted(entries, key=lambda key: -(shown(key, MAIN) or {})["mean"])
    lines = [
        [
            f"{key[0]}; {key[1]}",
            *[cell(shown(key, column), column) for column in COLUMNS],
            f"{entries[key]['milliseconds'][key[1]]:.1f}",
        ]
        for key in best
    ]
    widest = [
        max((half(shown(key, column)) for key in best), default=0.0)
        for column in COLUMNS
    ]
    last = ["widest interval, half", *[f"{width:.3f}" for width in widest], ""]
    return rows(["method; read at", *COLUMNS, "CPU, ms an image"], [*lines, last])


def cell(entry: dict[str, float] | None, column: str) -> str:
    """Write one number; there is none where absolute scores are the scores."""
    if entry is None:
        return "-"
    return number(entry) if column == MAIN else f"{entry['mean']:.3f}"


def half(entry: dict[str, float] | None) -> float:
    """Return half the width of an interval."""
    return 0.0 if entry is None else (entry["high"] - entry["low"]) / 2


def orderings(results: Results) -> str:
    """Compare the order of methods with the published one.

    Args:
        results: What a run saved.

    Returns:
        The published order, and a table of what each method's AUAC has more than that
        of the next.
    """
    published = results["config"]["published"]
    order = sorted(published, key=published.get, reverse=True)
    listed = " > ".join(f"{name} ({published[name]:.3f})" for name in order)
    neighbours = list(zip(order, order[1:], strict=False))
    lines = []
    for name, part in results["models"].items():
        for where, pairs in part.get("orderings", {}).items():
            found = {(pair["better"], pair["worse"]): pair for pair in pairs}
            cells = [advantage(found[pair]) for pair in neighbours]
            lines.append([f"{name}; {where}", *cells, tally(pairs)])
    head = [f"{better} > {worse}" for better, worse in neighbours]
    return (
        f"AUAC on MNIST as published (Ali et al. 2022): {listed}. (LRP gradient is "
        "Gradient x Input.) Here, by patches, what the first method of a pair has "
        "more than the second, image by image, with its interval (another model and other "
        "cells than the paper's; its own are in `benchmarks/papers/ali`):\n\n"
        + rows(["model; read at, replaced by", *head, "of all pairs"], lines)
    )


def advantage(pair: dict[str, Any]) -> str:
    """Write a difference, its interval, and what follows."""
    return f"{number(pair | {'mean': pair['advantage']})} {verdict(pair)}"


def tally(pairs: Sequence[dict[str, Any]]) -> str:
    """Count the verdicts of all pairs."""
    said = [verdict(pair) for pair in pairs]
    counted = [f"{said.count(kind)} {kind}" for kind in ELSEWHERE]
    return ", ".join(counted)
