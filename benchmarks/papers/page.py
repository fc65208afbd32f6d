"""Results of a paper in a file, and its page, whose tables come from them."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..cost.report import put
from ..faithfulness.orderings import ELSEWHERE
from . import published
from .reasons import reasons

__all__ = ["WORK", "Report", "environment", "load_config", "results", "save", "tables"]

WORK = Path(__file__).with_name("work")
"""Finished portions, so that a run takes itself up again."""
PACKAGES = ("torch", "transformers", "captum", "lrp_hooks")


def load_config(folder: Path) -> dict[str, Any]:
    """Read a paper's configuration, and keep to its number of threads.

    Args:
        folder: The paper's.

    Returns:
        The configuration.
    """
    text = (folder / "config.json").read_text(encoding="utf-8")
    config: dict[str, Any] = json.loads(text)
    torch.set_num_threads(config["threads"])
    return config


def results(folder: Path) -> dict[str, Any]:
    """Read a paper's results.

    Args:
        folder: The paper's.

    Returns:
        ``{setting: what was measured}``.
    """
    path = folder / "results.json"
    if not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def save(folder: Path, name: str, found: dict[str, Any]) -> None:
    """Write what one setting brought, beside what others did.

    Args:
        folder: The paper's.
        name: The setting's.
        found: JSON.
    """
    everything = {**results(folder), name: {**found, **environment()}}
    text = json.dumps(everything, indent=1) + "\n"
    (folder / "results.json").write_text(text, encoding="utf-8")


def environment() -> dict[str, Any]:
    """Record with what, and when, something was measured.

    Returns:
        Entries for what is saved.
    """
    return {
        "environment": {
            "threads": torch.get_num_threads(),
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


class Report(NamedTuple):
    """The page of a paper whose results are settings with rows.

    Attributes:
        folder: The paper's.
        name: Of the markers between which its tables stand.
    """

    folder: Path
    name: str

    def table(self) -> str:
        """Write all tables.

        Returns:
            Markdown.
        """
        return tables(results(self.folder), load_config(self.folder))

    def write(self) -> None:
        """Put the tables into the page."""
        page = self.folder / "README.md"
        text = put(page.read_text(encoding="utf-8"), self.name, self.table())
        page.write_text(text, encoding="utf-8")


def tables(results: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Write all tables of a paper.

    Args:
        results: What `page.save` wrote, by setting; each has ``rows``.
        config: The paper's: its own ``method``, and ``settings`` in their order.

    Returns:
        Markdown.
    """
    shown = {name: results[name] for name in config["settings"] if name in results}
    rows = [row for found in shown.values() for row in found["rows"]]
    own, others = (
        [row for row in rows if published.at_protocol(row) == wanted]
        for wanted in (True, False)
    )
    return "\n\n".join([
        "## Scores",
        published.scores(rows),
        f"## Orderings of {config['method']}",
        published.claims(rows, config["method"]),
        "## All published orderings",
        published.counts(own),
        "What is not the same, and why:",
        reasons(own, config["reasons"]),
        *(_elsewhere(others, config["reasons"]) if others else []),
        "## With what",
        provenance(shown),
    ])


def _elsewhere(rows: list[Any], known: list[Any]) -> list[str]:
    """Write what was measured elsewhere than at the paper's protocol."""
    return [
        "Elsewhere than at the protocol:",
        published.counts(rows, ELSEWHERE),
        reasons(rows, known, ELSEWHERE),
    ]


def provenance(results: Mapping[str, Any]) -> str:
    """Say with what, and when, each setting was measured.

    Args:
        results: What `page.save` wrote, by setting.

    Returns:
        Lines of a list.
    """
    lines = []
    for name, found in results.items():
        versions = ", ".join(f"{k} {v}" for k, v in found["environment"].items())
        lines.append(f"* {name}: {versions}; {found['date']}.")
    return "\n".join(lines)
