"""Rewrite all tables in both READMEs: ``python -m benchmarks.faithfulness.report``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..cost.report import put
from .chemistry import report as chemistry
from .molecules import report as molecules
from .plausibility import report as plausibility
from .search import report as search
from .text import report as text
from .vision import report as vision

BENCHMARKS = Path(__file__).resolve().parents[1] / "README.md"
FRONT = BENCHMARKS.parents[1] / "README.md"
TABLES: dict[str, tuple[Path, Path, Callable[[Any], str]]] = {
    "faithfulness": (FRONT, text.RESULTS, text.summary),
    "faithfulness-text": (BENCHMARKS, text.RESULTS, text.table),
    "faithfulness-search": (BENCHMARKS, search.RESULTS, search.table),
    "faithfulness-vision": (BENCHMARKS, vision.RESULTS, vision.table),
    "faithfulness-molecules": (BENCHMARKS, molecules.RESULTS, molecules.table),
    "faithfulness-chemistry": (BENCHMARKS, chemistry.RESULTS, chemistry.table),
    "faithfulness-plausibility": (BENCHMARKS, plausibility.RESULTS, plausibility.table),
}
"""The README that a table stands in, its results, and how it is written."""


def main() -> None:
    """Rewrite the tables."""
    for name, (readme, results, table) in TABLES.items():
        content = table(json.loads(results.read_text(encoding="utf-8")))
        page = readme.read_text(encoding="utf-8")
        readme.write_text(put(page, name, content), encoding="utf-8")


if __name__ == "__main__":
    main()
