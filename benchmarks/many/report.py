"""Turn results into this folder's page: ``python -m benchmarks.many.report``."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from ..command import without_arguments
from ..cost.report import put

RESULTS = Path(__file__).with_name("results.json")
README = Path(__file__).with_name("README.md")
MEBIBYTE = 2**20
Entry = dict[str, Any]


def main() -> None:
    """Rewrite the table."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    text = put(README.read_text(encoding="utf-8"), "many", table(results))
    README.write_text(text, encoding="utf-8")


def table(results: dict[str, Any]) -> str:
    """Write a row for each method and number of texts.

    Args:
        results: What a run saved.

    Returns:
        Markdown. The plain loop is shown at its best batch size.
    """
    lines = [
        "| texts | method | texts/s | of the plain loop | CPU time, of the plain loop "
        "| start-up, s | peak, MiB |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for size in dict.fromkeys(entry["size"] for entry in results["entries"]):
        own = [entry for entry in results["entries"] if entry["size"] == size]
        groups = _groups(own)
        plain = [group for name, group in groups.items() if name.startswith("plain")]
        base, least = max(map(speed, plain)), min(map(cpu, plain))
        for name, group in groups.items():
            if name.startswith("plain") and speed(group) < base:
                continue
            startup = statistics.median(entry["startup"] for entry in group)
            peak = max(entry["peak_bytes"] for entry in group) / MEBIBYTE
            lines.append(
                f"| {size} | {name} | {speed(group):.0f} | {speed(group) / base:.2f} | "
                f"{'-' if 'Ray' in name else f'{cpu(group) / least:.2f}'} | "
                f"{startup:.2f} | {peak:.0f} |"
            )
    about = results["environment"]
    versions = ", ".join(
        f"{name} {about[name]}"
        for name in ("torch", "transformers", "lrp_hooks", "ray")
        if about[name]
    )
    return "\n".join([
        *lines,
        "",
        f"One thread a process; {about['cpu']}, Python {about['python']}, {versions}; "
        f"{about['date']}.",
    ])


def _groups(entries: list[Entry]) -> dict[str, list[Entry]]:
    """Put the rounds of a method together."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        batch = f", batches of {entry['batch']}" if entry["batch"] else ""
        groups.setdefault(entry["method"] + batch, []).append(entry)
    return groups


def cpu(group: list[Entry]) -> float:
    """Return the CPU seconds behind the start-up, the median of rounds."""
    return statistics.median(e["cpu"] for e in group)


def speed(group: list[Entry]) -> float:
    """Return the texts a second of whole calls, the median of rounds."""
    return statistics.median(e["size"] / e["seconds"] for e in group)


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
