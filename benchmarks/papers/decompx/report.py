"""The page's tables: ``python -m benchmarks.papers.decompx.report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import published
from ..page import load_config, write

HERE = Path(__file__).parent
NAME = "papers-decompx"


def table(results: dict[str, Any]) -> str:
    """Write all tables.

    Args:
        results: What runs saved.

    Returns:
        Markdown.
    """
    method = load_config(HERE)["method"]
    known = load_config(HERE)["settings"]
    own = [results[name] for name in known if name in results]
    rows = [row for part in own for row in part["rows"]]
    return "\n\n".join([
        "## Scores",
        published.scores(rows),
        f"## Orderings of {method}",
        published.claims(rows, method),
        "## All published orderings",
        published.counts(rows),
        "## With what",
        *published.provenance({n: results[n] for n in known if n in results}),
    ])


if __name__ == "__main__":
    import sys

    write(sys.modules[__name__])
