"""Write the tables: ``python -m benchmarks.gpu.report``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..command import without_arguments
from .cost import FORWARD, GRADIENT, OURS

RESULTS = Path(__file__).with_name("results.json")
Record = dict[str, Any]


def tables(results: Record) -> str:
    """Write everything as Markdown.

    Args:
        results: What a run saved.

    Returns:
        Agreement, cost, long texts.
    """
    about = ", ".join(f"{k} {v}" for k, v in results["environment"].items())
    return "\n\n".join([
        agreement(results["agreement"]),
        costs(results["cost"] + results["long"]),
        f"{about}.",
    ])


def agreement(found: list[Record]) -> str:
    """Write how far numbers are from the CPU's."""
    head = "| model | rules | dtype | largest difference | ledger's error |"
    rows = [
        f"| {r['model']} | {r['rules']} | {r['dtype']} | {r['difference']:.1e} | "
        f"{r['ledger']:.1e} |"
        for r in found
    ]
    return "\n".join([head, "| --- | --- | --- | ---: | ---: |", *rows])


def costs(found: list[Record]) -> str:
    """Write what relevance costs."""
    head = (
        "| model | dtype | batch x tokens | forward, ms | GxI / forward | "
        "ours / forward | ours / GxI | MiB: forward, GxI, ours |"
    )
    rows = []
    for r in found:
        numbers = [r["mib"][name] for name in (FORWARD, GRADIENT, OURS)]
        mib = ", ".join("-" if n is None else f"{n:.0f}" for n in numbers)
        batch, length = r["size"]
        rows.append(
            f"| {r['model']} | {r['dtype']} | {batch} x {length} | "
            f"{r['forward'] * 1e3:.1f} | {r['gradient']:.2f} | {r['ours']:.2f} | "
            f"{r['beside gradient']:.2f} | {mib} |"
        )
    rule = "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |"
    return "\n".join([head, rule, *rows])


def main() -> None:
    """Print the tables of the last run."""
    print(tables(json.loads(RESULTS.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
