"""What the benchmarks here have in common: measure, save, rewrite a table."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

import lrp_hooks

from ..cost import report

README = Path(__file__).with_name("README.md")
Results = dict[str, Any]


def command(
    about: str | None,
    name: str,
    config: Path,
    results: Path,
    measure: Callable[[dict[str, Any]], Results],
    table: Callable[[Results], str],
) -> None:
    """Measure unless ``--report`` is given, save, rewrite the table and print it.

    Args:
        about: What ``--help`` says.
        name: Of the table's markers in the page.
        config: The file of the configuration.
        results: The file of the results.
        measure: Makes results of a configuration.
        table: Writes results as Markdown.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--report", action="store_true", help="only rewrite the table")
    if not parser.parse_args().report:
        found = measure(json.loads(config.read_text(encoding="utf-8")))
        draft = results.with_suffix(".part")
        draft.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        draft.replace(results)
    content = table(json.loads(results.read_text(encoding="utf-8")))
    text = README.read_text(encoding="utf-8")
    README.write_text(report.put(text, name, content), encoding="utf-8")
    print(content)


def versions() -> dict[str, str]:
    """Return what the numbers depend on, besides the configuration."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "lrp_hooks": lrp_hooks.__version__,
    }
