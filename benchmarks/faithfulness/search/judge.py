"""Sum up what both stages measured: ``python -m benchmarks.faithfulness.search.judge``.

Writes ``results.json``, of which ``python -m benchmarks.faithfulness.report`` makes the
tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from lrp_hooks.faithfulness import bootstrap

from ...command import without_arguments
from ..text.run import rounded
from . import price, report
from .candidates import candidates
from .chosen import (
    Cell,
    Lines,
    finalists,
    mean_ranks,
    ranks_by_column,
    read,
    sign,
)
from .run import CONFIG, HERE
from .verdicts import Values, against, counted

NEUTRAL = "random"
FEWEST = 8
"""Items that a cell needs for a verdict; with fewer, an interval says nothing."""


def main() -> None:
    """Sum up, save, print the tables."""
    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    searched, told = (read(HERE / f"{stage}.jsonl") for stage in ("search", "told"))
    results = rounded(summed_up(searched, told, config))
    results["price"] = json.loads(price.RESULTS.read_text(encoding="utf-8"))
    text = json.dumps(results, indent=1) + "\n"
    report.RESULTS.write_text(text, encoding="utf-8")
    print(report.table(results))


def summed_up(
    searched: Lines, told: Lines, config: Mapping[str, Any]
) -> dict[str, Any]:
    """Sum up both stages.

    Args:
        searched: What the search measured.
        told: What was measured of the best and of other methods.
        config: The configuration.

    Returns:
        What the tables are made of.
    """
    best = finalists(searched, config)
    once = [*best, *(name for name in config["rivals"] if name != NEUTRAL)]
    cells = told.cells()
    judged = {c: v for c, v in cells.items() if len(next(iter(v.values()))) >= FEWEST}
    return {
        "config": {k: v for k, v in config.items() if k != "variants"},
        "environment": {"threads": config["threads"], **told.about[-1]},
        "date": datetime.now(timezone.utc).date().isoformat(),
        "candidates": len(candidates(config)),
        "searched": {
            "n": {column: len(items) for column, items in searched.found.items()},
            "ranks": mean_ranks(searched),
            "by_column": ranks_by_column(searched),
        },
        "best": best,
        "named": config["named"],
        "told": [
            {
                "column": column,
                "metric": metric,
                "methods": {name: _spread(own) for name, own in values.items()},
            }
            for (column, metric), values in cells.items()
        ],
        "refused": told.refused(),
        "missing": {
            stage: [name for name in config["columns"] if name not in lines.found]
            for stage, lines in (("search", searched), ("told", told))
        },
        "fewest": FEWEST,
        "counted": counted(judged, once),
        "advice": advice(judged, [m for m in once if offered(m, config)], config),
        "against": {
            other: against(judged, config["named"], other)
            for other in [*best, *config["rivals"], *config["references"]]
            if other != config["named"]
        },
    }


def offered(method: str, config: Mapping[str, Any]) -> bool:
    """Tell whether `explain` can be asked for a method by its options alone."""
    known = {**candidates(config), **config["rivals"]}[method]
    return not {"activated", "mean", "plus"} & set(known)


def advice(
    cells: Mapping[Cell, Values], once: Iterable[str], config: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Say what to use for what, by relative ranks with one backward pass.

    Args:
        cells: One number an item, by method, of each column and metric.
        once: The methods that take one backward pass.
        config: Says what each column explains.

    Returns:
        For each thing that is explained, and ``"anything"``, its cells and the
        methods by mean relative rank, the best first.
    """
    by_kind: dict[str, list[dict[str, float]]] = {}
    for (column, metric), values in cells.items():
        own = [method for method in once if method in values]
        means = [sign(metric) * float(np.nanmean(values[m])) for m in own]
        places = (rankdata(-np.round(means, 9)) - 1) / max(1, len(own) - 1)
        ranks = dict(zip(own, map(float, places), strict=True))
        for kind in (config["columns"][column]["explains"], "anything"):
            by_kind.setdefault(kind, []).append(ranks)
    found = []
    for kind, cells_of in by_kind.items():
        everywhere = set.intersection(*map(set, cells_of))
        ranks = {m: float(np.mean([r[m] for r in cells_of])) for m in everywhere}
        ordered = dict(sorted(ranks.items(), key=lambda pair: (pair[1], pair[0])))
        found.append({"explains": kind, "cells": len(cells_of), "ranks": ordered})
    return sorted(found, key=lambda entry: entry["explains"] == "anything")


def _spread(values: np.ndarray) -> dict[str, float]:
    """Return a mean, its 95 % bootstrap interval, and of how many items."""
    known = values[~np.isnan(values)]
    low, high = bootstrap(torch.from_numpy(known))
    return {"mean": float(known.mean()), "low": low, "high": high, "n": len(known)}


if __name__ == "__main__":
    without_arguments(__doc__)
    main()
