"""Turn results into this folder's page: ``python -m benchmarks.circuits.report``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..by_prompt import by_task, interval, read, versions
from ..command import without_arguments
from ..cost.report import put

HERE = Path(__file__).parent
RESULTS, COSTS, README = HERE / "results.jsonl", HERE / "cost.json", HERE / "README.md"
CONFIG = HERE / "config.json"
ENOUGH = 0.9
Record = dict[str, Any]


def main() -> None:
    """Rewrite the tables."""
    counts = json.loads(CONFIG.read_text(encoding="utf-8"))["counts"]
    text = README.read_text(encoding="utf-8")
    text = put(text, "circuits", tables(read(RESULTS), counts))
    costs = json.loads(COSTS.read_text(encoding="utf-8"))
    README.write_text(put(text, "costs", cost_table(costs)), encoding="utf-8")


def cost_table(found: Record) -> str:
    """Write what a circuit costs.

    Args:
        found: What `cost` saved.

    Returns:
        Markdown.
    """
    lines = [
        "| nodes | CPU, s | plain backward passes | peak memory, MiB | balance |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found["circuits"]:
        lines.append(
            f"| {row['nodes']} | {row['seconds']:.1f} | {row['passes']:.0f} | "
            f"{row['bytes'] / 2**20:.0f} | {row['balance']:.0e} |"
        )
    return "\n".join([
        *lines,
        "",
        f"{found['model']}, {found['tokens']} tokens, float32, 1 thread; a plain "
        f"backward pass takes {found['backward']:.2f} s, and `attribute` has a peak of "
        f"{found['attribute_bytes'] / 2**20:.0f} MiB above the model; the least of "
        f"{found['rounds']} rounds.",
    ])


def tables(records: list[Record], counts: Sequence[int]) -> str:
    """Write a table for each task and model.

    Args:
        records: What a run saved, a prompt each.
        counts: How many neurons were kept.

    Returns:
        Markdown.
    """
    parts = []
    for (model, task), own in by_task(records).items():
        parts.append(f"**{task}**, {model}, n = {len(own)}\n\n{_table(own, counts)}")
    parts.append(f"**all tasks**, n = {len(records)}\n\n{_table(records, counts)}")
    parts.append(
        "Areas are means over the counts, clipped to [0, 1], with 95 % bootstrap "
        f"intervals over prompts; float32, 1 thread; {versions(records[0])}."
    )
    return "\n\n".join(parts)


def _table(records: list[Record], counts: Sequence[int]) -> str:
    heads = [
        "score",
        "kept: area",
        *(f"{count} kept" for count in counts),
        "removed: area",
        f"neurons for {ENOUGH:.0%}",
        "backward passes",
    ]
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    for method in records[0]["methods"]:
        rows = [r["methods"][method] for r in records]
        kept = np.array([row["faithfulness"] for row in rows])
        removed = np.array([row["completeness"] for row in rows])
        cells = [
            interval(kept.clip(0, 1).mean(1)),
            *(f"{value:.2f}" for value in np.median(kept, 0)),
            interval(removed.clip(0, 1).mean(1)),
            _enough(kept, counts),
            f"{np.median([row['passes'] for row in rows]):.1f}",
        ]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _enough(kept: Any, counts: Sequence[int]) -> str:
    """Write the least count at which half of the prompts have 90 % of the effect."""
    for count, values in zip(counts, kept.T, strict=True):
        if np.median(values) >= ENOUGH:
            return str(count)
    return f"> {counts[-1]}"


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
