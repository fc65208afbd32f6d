"""The page's tables: ``python -m benchmarks.papers.decompx.report``."""

from __future__ import annotations

from pathlib import Path

from ..page import Report

HERE = Path(__file__).parent
REPORT = Report(HERE, "papers-decompx")


if __name__ == "__main__":
    REPORT.write()
