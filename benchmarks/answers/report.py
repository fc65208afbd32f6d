"""Turn results into this folder's page: ``python -m benchmarks.answers.report``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..by_prompt import by_task, interval, read, versions
from ..command import without_arguments
from ..cost.report import put
from .cost import LONG, PLAIN
from .methods import METHODS

RESULTS = Path(__file__).with_name("results.jsonl")
COSTS = Path(__file__).with_name("cost.json")
README = Path(__file__).with_name("README.md")
COLUMNS = {
    "first": "right source first",
    "all": "right sources found",
    "datamodel": "datamodelling score",
    "leaving_out": "Spearman with leaving out",
    "drop": "drop without the first",
    "passes": "forward passes",
    "seconds": "CPU, s",
}
WITH_INTERVALS = ("first", "all", "datamodel", "leaving_out")
DEFAULT = "share .25, log-probability"
CACHE = "share .25, log-probability, cache"
AGAINST = {
    DEFAULT: ("ablation, 32 calls", "leave one out", "attnlrp, log-probability"),
    CACHE: (
        *("ablation, 32 calls", "leave one out", DEFAULT),
        "conservative, log-probability, cache",
    ),
}
"""With what each is compared, prompt by prompt."""
Record = dict[str, Any]


def main() -> None:
    """Rewrite the tables."""
    text = README.read_text(encoding="utf-8")
    shown = tables(read(RESULTS))
    text = put(text, "answers", shown)
    costs = json.loads(COSTS.read_text(encoding="utf-8"))
    README.write_text(put(text, "costs", cost_table(costs)), encoding="utf-8")
    print(shown)


def cost_table(entries: list[Record]) -> str:
    """Write what answers of several lengths cost.

    Args:
        entries: What `cost` saved.

    Returns:
        Markdown.
    """
    lines = [
        "| context + answer | method | CPU, s | of the plain passes | peak, MiB |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for entry in entries:
        plain = entry["methods"][PLAIN]["seconds"]
        for name, found in entry["methods"].items():
            pairs = zip(found["seconds"], plain, strict=True)
            ratio = float(np.median([mine / theirs for mine, theirs in pairs]))
            lines.append(
                f"| {entry['context']} + {entry['answer']} tokens | {name} | "
                f"{np.median(found['seconds']):.1f} | {ratio:.2f} | "
                f"{found['bytes'] / 2**20:.0f} |"
            )
    about = entries[0]
    return "\n".join([
        *lines,
        "",
        f"{about['model']}, float32, 1 thread, medians of 3 interleaved rounds, of 1 "
        f"from {LONG} tokens on; torch {about['torch']}, lrp_hooks "
        f"{about['lrp_hooks']}; {about['date']}.",
    ])


def tables(records: list[Record]) -> str:
    """Write a table for each task and model.

    Args:
        records: What a run saved, a prompt each.

    Returns:
        Markdown.
    """
    parts = []
    for (model, task), own in by_task(records).items():
        parts.append(f"**{task}**, {model}\n\n{_table(own)}\n\n{_paired(own)}")
    parts.append(
        "Means with 95 % bootstrap intervals over prompts; float32, 1 thread; a "
        f"backward pass counts as two forward passes; {versions(records[0])}."
    )
    return "\n\n".join(parts)


def _table(records: list[Record]) -> str:
    heads = ["method", "n", *COLUMNS.values()]
    lines = [f"| {' | '.join(heads)} |", f"| --- | ---: |{' ---: |' * len(COLUMNS)}"]
    for method in METHODS:
        rows = [r["methods"][method] for r in records if method in r["methods"]]
        if not rows:
            continue
        cells = [_cell(name, [row[name] for row in rows]) for name in COLUMNS]
        lines.append(f"| {method} | {len(rows)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _paired(records: list[Record]) -> str:
    """Write how much better relevance is than others, prompt by prompt."""
    lines = []
    for name, others in AGAINST.items():
        cells = []
        for other in others:
            both = [
                r["methods"] for r in records if {name, other} <= r["methods"].keys()
            ]
            gaps = [m[name]["datamodel"] - m[other]["datamodel"] for m in both]
            if both:
                cells.append(f"{_cell('datamodel', gaps)} over {other} (n {len(both)})")
        if cells:
            found = "; ".join(cells)
            lines.append(f"Datamodelling score of *{name}*, differences: {found}.")
    return "\n\n".join(lines)


def _cell(name: str, values: list[float]) -> str:
    known = [v for v in values if not math.isnan(v)]
    if not known:
        return "-"
    return interval(known) if name in WITH_INTERVALS else f"{np.mean(known):.1f}"


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
