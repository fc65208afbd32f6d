"""All four papers' orderings in one table: ``python -m benchmarks.papers.report``.

It rewrites the papers' own pages first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..command import without_arguments
from ..cost.report import put
from ..faithfulness.orderings import AT_ITS_PROTOCOL, ELSEWHERE
from .ali.report import REPORT as ALI
from .attention import report as attention_report
from .decompx.report import REPORT as DECOMPX
from .page import results
from .published import at_protocol, markdown, said
from .slalom import report as slalom_report

__all__ = ["README", "main", "table"]

README = Path(__file__).with_name("README.md")
HEAD = ("paper", "data", "model", "read-out", "n")


def main() -> None:
    """Rewrite every page."""
    for report in (ALI, DECOMPX):
        report.write()
    for module in (slalom_report, attention_report):
        module.main()
    text = put(README.read_text(encoding="utf-8"), "papers-orderings", table())
    README.write_text(text, encoding="utf-8")
    print(table())


def table() -> str:
    """Count the published orderings of all papers.

    Returns:
        Markdown, a line for each model, data set and read-out, over all metrics.
    """
    papers = {
        "Ali et al.": _rows(ALI.folder),
        "DecompX": _rows(DECOMPX.folder),
        "SLALOM": slalom_report.rows(),
        "Lopardo et al.": attention_report.rows(),
    }
    lines = [[*HEAD, *AT_ITS_PROTOCOL, *ELSEWHERE]]
    lines.append(["---"] * len(HEAD) + ["---:"] * 6)
    for paper, rows in papers.items():
        lines += [[paper, *line] for line in _counted(rows)]
    return markdown(lines)


def _rows(folder: Path) -> list[Any]:
    """Return all rows of a paper's results."""
    return [row for found in results(folder).values() for row in found["rows"]]


def _counted(rows: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """Count the orderings of rows that differ in their metric alone."""
    found: dict[tuple[str, ...], list[int]] = {}
    for row in rows:
        key = tuple(str(row[name]) for name in ("data", "model", "read_out", "n"))
        counts = found.setdefault(key, [0] * 6)
        own = at_protocol(row)
        words = AT_ITS_PROTOCOL if own else ELSEWHERE
        for pair in row["orderings"]:
            counts[words.index(said(row, pair, words)) + 3 * (not own)] += 1
    return [
        [*key, *(str(count) if count else "" for count in counts)]
        for key, counts in found.items()
        if any(counts)
    ]


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
