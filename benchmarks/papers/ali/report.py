"""The page's tables: ``python -m benchmarks.papers.ali.report``."""

from __future__ import annotations

from pathlib import Path

from ...command import without_arguments
from ..page import Report

HERE = Path(__file__).parent
REPORT = Report(HERE, "papers-ali")


if __name__ == "__main__":
    without_arguments(__doc__)
    REPORT.write()
