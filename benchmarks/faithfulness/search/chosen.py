"""What a stage measured, and which candidates are the best on what is for choosing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from lrp_hooks.faithfulness import BETTER

__all__ = [
    "Cell",
    "Lines",
    "finalists",
    "mean_ranks",
    "ranks_by_column",
    "read",
    "sign",
]

Cell = tuple[str, str]
"""A column and a metric."""


class Lines:
    """The numbers of a stage by column, item, label and metric."""

    def __init__(self, lines: Iterable[Mapping[str, Any]] = ()) -> None:
        """Read lines; later ones add to earlier ones of the same item."""
        self.found: dict[str, dict[int, dict[str, Any]]] = {}
        self.about: list[dict[str, Any]] = []
        for line in lines:
            items = self.found.setdefault(line["column"], {})
            items.setdefault(line["number"], {}).update(line["scores"])
            known = ("column", "number", "scores")
            about = {k: v for k, v in line.items() if k not in known}
            if about not in self.about:
                self.about.append(about)

    def labels(self, column: str, number: int) -> set[str]:
        """Return what was measured on an item."""
        return set(self.found.get(column, {}).get(number, {}))

    def cells(self) -> dict[Cell, dict[str, np.ndarray]]:
        """Return the numbers of each column and metric, one a row, by label.

        A label that any item of the column lacks is left out.
        """
        found: dict[Cell, dict[str, np.ndarray]] = {}
        for column, items in self.found.items():
            rows = list(items.values())
            for name in rows[0]:
                own = [row.get(name) for row in rows]
                if all(isinstance(entry, dict) for entry in own):
                    for metric in own[0]:
                        values = np.concatenate([_list(e[metric]) for e in own])
                        found.setdefault((column, metric), {})[name] = values
        return found

    def refused(self) -> dict[str, dict[str, str]]:
        """Return why methods refused a column, ``{column: {label: reason}}``."""
        return {
            column: {
                name: reason
                for row in items.values()
                for name, reason in row.items()
                if isinstance(reason, str)
            }
            for column, items in self.found.items()
        }


def _list(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]


def read(path: Path) -> Lines:
    """Read a stage's file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return Lines(json.loads(line) for line in lines)


def sign(metric: str) -> int:
    """Return 1 where higher is better, else -1."""
    return -1 if BETTER.get(metric) == "lower" else 1


def ranks_by_column(lines: Lines) -> dict[str, dict[str, float]]:
    """Rank candidates in every column.

    Args:
        lines: What the search measured.

    Returns:
        ``{column: {label: relative rank}}``, the mean over the column's metrics: 0 is
        the best by all, 1 the last; equal ones share the mean of their ranks.
    """
    by_column: dict[str, list[dict[str, float]]] = {}
    for (column, metric), cell in lines.cells().items():
        means = [sign(metric) * np.nanmean(values) for values in cell.values()]
        places = (rankdata(-np.round(means, 9)) - 1) / max(1, len(means) - 1)
        ranks = dict(zip(cell, map(float, places), strict=True))
        by_column.setdefault(column, []).append(ranks)
    return {
        column: {
            name: float(np.mean([ranks[name] for ranks in cells])) for name in cells[0]
        }
        for column, cells in by_column.items()
    }


def mean_ranks(lines: Lines) -> dict[str, float]:
    """Rank candidates over all columns, each with the same weight.

    Args:
        lines: What the search measured.

    Returns:
        ``{label: mean relative rank}``, the best first, of those in every column.
    """
    columns = list(ranks_by_column(lines).values())
    everywhere = [name for name in columns[0] if all(name in own for own in columns)]
    means = {n: float(np.mean([own[n] for own in columns])) for n in everywhere}
    return dict(sorted(means.items(), key=lambda pair: pair[1]))


def finalists(lines: Lines, config: Mapping[str, Any]) -> list[str]:
    """Return the candidates that are told, the best first.

    Args:
        lines: What the search measured.
        config: Says how many.

    Returns:
        Labels of the best by mean rank, and those that are told in any case.
    """
    best = list(mean_ranks(lines))[: config["finalists"]]
    return list(dict.fromkeys([*best, *config["always"]]))
