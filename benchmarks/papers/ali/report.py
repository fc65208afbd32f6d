"""The page's tables: ``python -m benchmarks.papers.ali.report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import published
from ..page import load_config, write

HERE = Path(__file__).parent
NAME = "papers-ali"


def table(results: dict[str, Any]) -> str:
    """Write all tables.

    Args:
        results: What runs saved.

    Returns:
        Markdown.
    """
    return published.tables(results, load_config(HERE))


if __name__ == "__main__":
    import sys

    write(sys.modules[__name__])
