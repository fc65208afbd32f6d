"""Turn results into this folder's page: ``python -m benchmarks.relp.report``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..command import without_arguments
from ..cost.report import put

RESULTS = Path(__file__).with_name("results.json")
README = Path(__file__).with_name("README.md")
Results = dict[str, Any]
Entry = dict[str, Any]


def main() -> None:
    """Rewrite the table."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    text = README.read_text(encoding="utf-8")
    README.write_text(put(text, "relp", table(results)), encoding="utf-8")
    print(table(results))


def table(results: Results) -> str:
    """Write the correlations with activation patching as Markdown.

    Args:
        results: What a run saved.

    Returns:
        One table a model, what it took, and what was run.
    """
    parts = [_model(name, entry) for name, entry in results["models"].items()]
    about = results["environment"]
    versions = ", ".join(f"{name} {about[name]}" for name in about)
    threads = results["config"]["threads"]
    return "\n\n".join([
        *parts,
        f"float32, sdpa, {threads} thread; {versions}; {results['date']}.",
    ])


def _model(name: str, entry: Entry) -> str:
    rows = [
        [component, task, str(found["pairs"]), str(found["points"]), *_cells(found)]
        for component, tasks in entry["components"].items()
        for task, found in tasks.items()
    ]
    tasks = next(iter(entry["components"].values()))
    estimates = list(next(iter(tasks.values()))["pearson"])
    head = [f"{name}, {entry['layers']} layers", "task", "pairs", "points", *estimates]
    rule = ["---", "---", *["---:"] * (len(head) - 2)]
    lines = ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]
    return "\n".join([*lines, "", _seconds(entry)])


def _cells(found: Entry) -> list[str]:
    """Write the correlations of one task, the best in bold."""
    best = max(found["pearson"].values())
    texts = [(f"{value:.3f}", value == best) for value in found["pearson"].values()]
    return [f"**{text}**" if is_best else text for text, is_best in texts]


def _seconds(entry: Entry) -> str:
    spent = ", ".join(f"{name} {time:.1f}" for name, time in entry["seconds"].items())
    return f"CPU seconds: {spent}."


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
