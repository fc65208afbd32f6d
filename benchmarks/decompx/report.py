"""Turn results into the tables of the pages: ``python -m benchmarks.decompx.report``.

The published implementation runs on transformers 4.18 to 4.30 alone, so its figures
were taken apart from these, on the same kind of machine and model: BERT-base with two
labels, float32, one thread (github mohsenfayyaz/DecompX at b6bddf0).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import BertConfig

from ..command import without_arguments
from ..cost import report
from ..cost.methods import FORWARD
from .methods import ONE_CLASS, TWO_CLASSES, forward_path

RESULTS = Path(__file__).with_name("results.json")
PAGES = (
    Path(__file__).with_name("README.md"),
    report.ROOT / "docs" / "systems" / "decompx.md",
)
PUBLISHED = {32: (24, 195), 64: (58, 732), 128: (163, 2008)}
"""Tokens: forward passes of time, MiB of memory."""
TARGETS = {
    ONE_CLASS: {32: 2.0, 64: 2.0, 128: 2.0},
    TWO_CLASSES: {32: 3.0, 64: 3.0, 128: 3.0},
    forward_path("absdot"): {32: 17, 64: 38, 128: 85},
}
MEMORY_TARGETS = {32: 70, 64: 130, 128: 220}
Results = dict[str, Any]
Entry = dict[str, Any]


def main() -> None:
    """Rewrite the table of both pages."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    for path in PAGES:
        text = report.put(path.read_text(encoding="utf-8"), "decompx", table(results))
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(report.ROOT))


def table(results: Results) -> str:
    """Write the costs, the published ones and the targets.

    Args:
        results: What a run saved.

    Returns:
        Markdown.
    """
    exact = [forward_path(rule) for rule in results["config"]["rules"]]
    columns: dict[str, Callable[[Entry], float]] = {
        f"{name}, forwards": _time(name) for name in (ONE_CLASS, TWO_CLASSES, *exact)
    }
    columns["published, forwards"] = lambda entry: _published(entry, 0)
    columns |= {f"{name}, MiB": _peak(name) for name in (ONE_CLASS, *exact)}
    columns["published, MiB"] = lambda entry: _published(entry, 1)
    parts = [
        report.table(results, columns),
        targets(results),
        report.environment(results),
    ]
    return "\n\n".join(parts)


def targets(results: Results) -> str:
    """Say of each target whether it was met.

    Args:
        results: What a run saved.

    Returns:
        A Markdown list.
    """
    lines = []
    for name, limits in TARGETS.items():
        found = {
            entry["length"]: _time(name)(entry) for entry in results["cases"].values()
        }
        lines.append(f"* {name}: {_verdict(found, limits)} forward passes.")
    exact = forward_path("absdot")
    bert = BertConfig()
    worth = [f"{multiplications(bert, n):.0f} ({n} tokens)" for n in PUBLISHED]
    lines.append(f"* {exact}: as many multiplications as {', '.join(worth)} forwards.")
    peaks = {e["length"]: _peak(exact)(e) for e in results["cases"].values()}
    lines.append(f"* {exact}, memory: {_verdict(peaks, MEMORY_TARGETS)} MiB.")
    return "\n".join(lines)


def multiplications(bert: BertConfig, length: int) -> float:
    """Count the multiplications of a decomposition into tokens, but the biases'.

    Args:
        bert: The model's sizes.
        length: The number of tokens, and of sources.

    Returns:
        How many forward passes have as many. The first layer's sources are one token
        each before attention, and the last layer goes on with one token alone.
    """
    width, n_layers = bert.hidden_size, bert.num_hidden_layers
    square, mixing = width * width, length * width
    feed_forward = 2 * width * bert.intermediate_size
    vector = (n_layers - 1) * (2 * square + mixing + feed_forward) - 2 * square
    return length * vector / (n_layers * (4 * square + 2 * mixing + feed_forward))


def _verdict(found: dict[int, float], limits: dict[int, float]) -> str:
    parts = [
        f"{_told(value, limits[length])} of at most {report.number(limits[length])} "
        f"({length} tokens{'' if value <= limits[length] else ': missed'})"
        for length, value in found.items()
        if length in limits
    ]
    return ", ".join(parts)


def _told(value: float, limit: float) -> str:
    """Write a number with digits enough to tell it from the limit."""
    text = report.number(value)
    return f"{value:.3f}" if text == report.number(limit) else text


def _time(method: str) -> Callable[[Entry], float]:
    return lambda entry: report.time_ratio(entry, method, FORWARD)


def _peak(method: str) -> Callable[[Entry], float]:
    return lambda entry: float(entry["peak_bytes"][method] / report.MEBIBYTE)


def _published(entry: Entry, column: int) -> float:
    return PUBLISHED.get(entry["length"], (float("nan"),) * 2)[column]


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
