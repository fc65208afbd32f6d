"""Rewrite all tables of results: ``python -m benchmarks.faithfulness.report``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..command import without_arguments
from ..cost.report import put
from .chemistry import report as chemistry
from .molecules import report as molecules
from .plausibility import report as plausibility
from .search import report as search
from .text import report as text
from .vision import report as vision

HERE = Path(__file__).resolve().parent
DOCS = HERE.parents[1] / "docs"
TUTORIAL = DOCS / "tutorials" / "evaluation.md"
SETS = DOCS / "systems" / "lrp.md"
Table = tuple[Path, Path, Callable[[Any], str]]


def _page(report: Any) -> Table:
    """Return where a report's table stands: on the page beside its results."""
    return report.RESULTS.with_name("README.md"), report.RESULTS, report.table


TABLES: dict[str, Table] = {
    "faithfulness": (TUTORIAL, text.RESULTS, text.summary),
    "faithfulness-which": (SETS, search.RESULTS, search.summary),
    "faithfulness-text": _page(text),
    "faithfulness-search": _page(search),
    "faithfulness-vision": _page(vision),
    "faithfulness-molecules": _page(molecules),
    "faithfulness-chemistry": _page(chemistry),
    "faithfulness-plausibility": _page(plausibility),
}
"""The page that a table stands in, its results, and how it is written."""


def main() -> None:
    """Rewrite the tables."""
    for name, (path, results, table) in TABLES.items():
        content = table(json.loads(results.read_text(encoding="utf-8")))
        page = path.read_text(encoding="utf-8")
        path.write_text(put(page, name, content), encoding="utf-8")


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
