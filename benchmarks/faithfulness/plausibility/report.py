"""Turn results into a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .record import Results, environment, number, rows

RESULTS = Path(__file__).with_name("results.json")
COLUMNS = (
    "all, absolute, auroc",
    "all, signed, auroc",
    "all, absolute, auprc",
    "all, absolute, token_f1",
    "majority, absolute, auroc",
    "majority, signed, auroc",
)


def table(results: Results) -> str:
    """Write everything as Markdown.

    Args:
        results: What a run saved.

    Returns:
        A table for each model and part of the data, and what was run.
    """
    parts = []
    for name, part in results["models"].items():
        parts += [heading(name, part), one(part)]
    return "\n\n".join([*parts, environment(results)])


def heading(name: str, part: dict[str, Any]) -> str:
    """Say which texts were explained, and which were left out and why."""
    counts = dict(part["texts"])
    read, used = counts.pop("read"), counts.pop("used")
    left = "; ".join(f"{reason}: {number}" for reason, number in counts.items())
    return (
        f"{name}: {used} of {read} texts read (left out: {left or 'none'}), accuracy "
        f"{part['accuracy']:.3f}."
    )


def one(part: dict[str, Any]) -> str:
    """Write one model's table, the best by the first column on top.

    Methods that explained fewer texts come last, since their rows are of other texts.

    Args:
        part: What was measured of one model.

    Returns:
        A Markdown table.
    """

    def rank(item: tuple[str, dict[str, Any]]) -> tuple[int, float]:
        entry = item[1]
        return -entry["texts"], -entry["metrics"][COLUMNS[0]]["mean"]

    lines = [
        [
            name,
            *[number(entry["metrics"][column]) for column in COLUMNS],
            str(entry["texts"]),
            f"{1000 * entry['seconds'] / entry['texts']:.0f}",
        ]
        for name, entry in sorted(part["methods"].items(), key=rank)
    ]
    return rows(["method", *COLUMNS, "texts", "ms a text"], lines)
