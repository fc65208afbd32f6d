"""Turn results into this folder's page: ``python -m benchmarks.generation.report``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..command import without_arguments
from ..cost import report
from .methods import (
    BACKWARDS,
    EXPLAINED,
    INSTRUMENTED,
    LAST_LOGITS,
    ONE_BACKWARD,
    PEAKS,
)

RESULTS = Path(__file__).with_name("results.json")
README = Path(__file__).with_name("README.md")
BASES = (BACKWARDS, LAST_LOGITS, INSTRUMENTED)
TIME_LIMIT, PEAK_LIMIT = 1.2, 1.5
Results = dict[str, Any]
Entry = dict[str, Any]


def main() -> None:
    """Rewrite the table."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    text = report.put(README.read_text(encoding="utf-8"), "generation", table(results))
    README.write_text(text, encoding="utf-8")
    print(README.relative_to(report.ROOT))


def table(results: Results) -> str:
    """Write the costs of each way to explain, and whether the limits are kept.

    Args:
        results: What a run saved.

    Returns:
        Markdown.
    """
    parts = [_case(entry) for entry in results["cases"].values()]
    return "\n\n".join([*parts, report.environment(results)])


def _case(entry: Entry) -> str:
    tokens = entry["length"]
    head = [
        f"{entry['model']}, {tokens // 4} of {tokens} tokens",
        "CPU, s",
        *(f"of {name}" for name in BASES),
        "peak, MiB",
        f"of {ONE_BACKWARD}",
    ]
    rows = [_row(entry, method) for method in (*BASES, *PEAKS)]
    rule = ["---", *["---:"] * (len(head) - 1)]
    lines = ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]
    return "\n".join([*lines, "", *_verdicts(entry)])


def _row(entry: Entry, method: str) -> list[str]:
    seconds, peaks = entry["seconds"], entry["peak_bytes"]
    times = [report.number(report.time_ratio(entry, method, base)) for base in BASES]
    peak = ["-", "-"]
    if method in peaks:
        ratio = report.peak_ratio(entry, method, ONE_BACKWARD)
        peak = [
            report.number(peaks[method] / report.MEBIBYTE),
            report.number(ratio),
        ]
    return [method, report.number(min(seconds[method])), *times, *peak]


def _verdicts(entry: Entry) -> list[str]:
    """Say whether the default keeps its limits, beside each way to count."""
    lines = []
    for base in BASES:
        ratio = report.time_ratio(entry, EXPLAINED, base)
        lines.append(f"* CPU time of {base}: {_verdict(ratio, TIME_LIMIT)}.")
    ratio = report.peak_ratio(entry, EXPLAINED, ONE_BACKWARD)
    lines.append(f"* peak memory of {ONE_BACKWARD}: {_verdict(ratio, PEAK_LIMIT)}.")
    return lines


def _verdict(ratio: float, limit: float) -> str:
    kept = "kept" if ratio <= limit else "missed"
    return f"{ratio:.2f} (limit {limit:.2f}, {kept})"


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
