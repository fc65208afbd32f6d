"""Checks models of other libraries: ``python -m benchmarks.coverage.third_party``."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterable
from pathlib import Path

import torch

from ..run import MAX_WORKERS, check_all, finished, save, warm_up
from .models import Listed, listed
from .operators import declare
from .probe import probe
from .report import RESULTS


def main() -> None:
    """Check what the results lack; append one line a model."""
    options = parse_arguments()
    done = set() if options.only else finished(options.output)
    todo = [m for m in chosen(options.only) if m.name not in done]
    torch.set_num_threads(1)
    declare()
    load(todo)
    warm_up(todo)
    save(check_all(todo, options.workers, probe), options.output, len(todo))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", help="libraries or models, anew")
    parser.add_argument("--workers", type=int, default=MAX_WORKERS, choices=(1, 2))
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON lines")
    return parser.parse_args()


def chosen(names: Iterable[str] | None) -> list[Listed]:
    """List what the command line asks for."""
    wanted = set(names or ())
    return [m for m in listed() if not wanted or wanted & {m.library, m.name}]


def load(todo: Iterable[Listed]) -> None:
    """Load libraries in this process, so that no probe loads them again."""
    for call in sorted({model.spec["call"].split(":")[0] for model in todo}):
        importlib.import_module(call)


if __name__ == "__main__":
    main()
