"""Search rule sets: ``python -m benchmarks.faithfulness.search.run STAGE``.

STAGE is ``search``, which scores candidates on items that are for choosing, or
``told``, which scores the best of them and other methods on other items. Each item is
a line of ``search.jsonl`` or ``told.jsonl``; a run that was stopped goes on behind the
last. ``python -m benchmarks.faithfulness.search.judge`` sums up, and
``python -m benchmarks.faithfulness.report`` writes the tables.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lrp_hooks import LrpHooksError

from ...by_prompt import environment
from ..text.run import TRAINED
from .candidates import Numbers, candidates
from .chosen import Lines, finalists, read
from .columns import load
from .scoring import Item, Places, scores

HERE = Path(__file__).parent
CONFIG = HERE / "config.json"
STAGES = ("search", "told")
DIGITS = 5


def main() -> None:
    """Measure what the lines of a stage lack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("columns", nargs="*", help="all by default")
    parser.add_argument("--shared", type=Path, required=True, help="models and data")
    parser.add_argument("--decoder", type=Path, help="folder of SmolLM2-135M")
    parser.add_argument("--most", type=int, help="items of a column in this run")
    chosen = parser.parse_args()
    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    torch.set_num_threads(config["threads"])
    places = Places(chosen.shared, TRAINED, chosen.decoder)
    for column in chosen.columns or config["columns"]:
        fill(column, chosen.stage, config, places, chosen.most)


def asked(stage: str, config: Mapping[str, Any]) -> dict[str, Numbers]:
    """List what is scored at a stage.

    Args:
        stage: ``"search"`` or ``"told"``.
        config: The configuration.

    Returns:
        ``{label: numbers}``: all candidates, or the best of the search beside the
        other methods.
    """
    space = candidates(config)
    if stage == "search":
        return space
    best = finalists(read(HERE / "search.jsonl"), config)
    return (
        {name: space[name] for name in best} | config["rivals"] | config["references"]
    )


def fill(
    column: str,
    stage: str,
    config: Mapping[str, Any],
    places: Places,
    most: int | None = None,
    folder: Path = HERE,
) -> None:
    """Measure what a column lacks.

    Args:
        column: Its name.
        stage: Whose items.
        config: The configuration.
        places: Where models and data are.
        most: At most so many of the column's items.
        folder: Where the lines are.
    """
    path = folder / f"{stage}.jsonl"
    done = read(path) if path.exists() else Lines()
    wanted = asked(stage, config)
    loaded = load(config["columns"][column], stage, places)
    start = time.perf_counter()
    for number in range(min(loaded.count, most or loaded.count)):
        known = done.labels(column, number)
        missing = {k: v for k, v in wanted.items() if k not in known}
        if not missing:
            continue
        found = measured(loaded.item(number), missing)
        line = {"column": column, "number": number, "scores": found, **environment()}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        passed = time.perf_counter() - start
        print(f"{stage}, {column}: {number + 1}, {passed:.0f} s", flush=True)


def measured(item: Item, wanted: Mapping[str, Numbers]) -> dict[str, Any]:
    """Judge candidates and methods on one item.

    Args:
        item: The item.
        wanted: ``{label: numbers}``.

    Returns:
        The numbers of each metric by label, one a row; the reason, of a method that
        refuses.
    """
    found: dict[str, Any] = {}
    for name, numbers in wanted.items():
        try:
            judged = item.judge(scores(item, numbers))
        except LrpHooksError as error:
            found[name] = str(error)
            continue
        found[name] = {m: list(map(_short, values)) for m, values in judged.items()}
    return found


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


if __name__ == "__main__":
    main()
