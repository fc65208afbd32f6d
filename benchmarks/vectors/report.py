"""Turn results into the page's tables: ``python -m benchmarks.vectors.report``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..command import without_arguments
from ..cost import report
from ..cost.methods import FORWARD
from . import depass, selective
from .decomposition import ONE_CLASS, VECTORS
from .maps import MAPS, RELEVANCE

README = Path(__file__).with_name("README.md")
RESULTS = {
    part: Path(__file__).with_name(f"results-{part}.json")
    for part in ("vectors", "maps")
}
Entry = dict[str, Any]


def main() -> None:
    """Rewrite the tables of the page."""
    text = README.read_text(encoding="utf-8")
    for part, path in RESULTS.items():
        results = json.loads(path.read_text(encoding="utf-8"))
        text = report.put(text, part, table(part, results))
    results = json.loads(depass.RESULTS.read_text(encoding="utf-8"))
    text = report.put(text, "depass", depass.table(results))
    rows = json.loads(selective.RESULTS.read_text(encoding="utf-8"))
    text = report.put(text, "selective", selective.table(rows))
    README.write_text(text, encoding="utf-8")


def table(part: str, results: dict[str, Any]) -> str:
    """Write the costs of one part.

    Args:
        part: ``"vectors"`` or ``"maps"``.
        results: What a run saved.

    Returns:
        Markdown.
    """
    columns = {"vectors": _vectors, "maps": _maps}[part]()
    return "\n\n".join([report.table(results, columns), report.environment(results)])


def _vectors() -> dict[str, Callable[[Entry], float]]:
    def vectors(entry: Entry) -> float:
        return report.time_ratio(entry, VECTORS, FORWARD)

    return {
        "forward, s": _seconds(FORWARD),
        "scores, forwards": lambda entry: report.time_ratio(entry, ONE_CLASS, FORWARD),
        "vectors, forwards": vectors,
        "vectors, forwards a token": lambda entry: vectors(entry) / entry["length"],
        "vectors, MiB": _peak(VECTORS),
    }


def _maps() -> dict[str, Callable[[Entry], float]]:
    return {
        "forward, s": _seconds(FORWARD),
        "relevance, forwards": lambda entry: report.time_ratio(
            entry, RELEVANCE, FORWARD
        ),
        "maps, forwards": lambda entry: report.time_ratio(entry, MAPS, FORWARD),
        "maps, s": _seconds(MAPS),
        "maps, MiB": _peak(MAPS),
    }


def _seconds(method: str) -> Callable[[Entry], float]:
    return lambda entry: float(min(entry["seconds"][method]))


def _peak(method: str) -> Callable[[Entry], float]:
    def peak(entry: Entry) -> float:
        found = entry.get("peak_bytes", {}).get(method, math.nan)
        return float(found / report.MEBIBYTE)

    return peak


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
