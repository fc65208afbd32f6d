"""Results of a paper in a file, and its page, whose tables come from them."""

from __future__ import annotations

import json
import platform
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..cost.report import put
from . import published

__all__ = ["WORK", "Report", "environment", "load_config", "results", "save"]

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
        return published.tables(results(self.folder), load_config(self.folder))

    def write(self) -> None:
        """Put the tables into the page."""
        page = self.folder / "README.md"
        text = put(page.read_text(encoding="utf-8"), self.name, self.table())
        page.write_text(text, encoding="utf-8")
