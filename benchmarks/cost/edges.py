"""Where cost is not as elsewhere: ``python -m benchmarks.cost.edges [--quick]``.

Few tokens, narrow layers and instrumenting itself, where it is not arithmetic; and long
inputs, where attention is most of it. A shape's ``"measure"`` says whether time is
measured, memory, or both.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from lrp_hooks import instrument

from . import methods as plain
from . import report
from .cases import cases, load_config
from .methods import Batch, Call, Method
from .run import measure_memory, measure_time, parse_arguments, save, start

CONFIG = Path(__file__).with_name("edges.json")
TIME = "time"
MEASURES = {TIME: measure_time, "memory": measure_memory}


def main() -> None:
    """Run what the results lack, save after each case, print the table."""
    arguments = parse_arguments(__doc__)
    config = load_config(arguments.quick, CONFIG)
    torch.set_num_threads(config["threads"])
    path = arguments.output or (None if arguments.quick else report.EDGES)
    results = start(path, config, arguments.fresh)
    for case in cases(config):
        for what in config["models"][case.model].get("measure", [TIME]):
            MEASURES[what](results, case)
            save(results, path)
    print(report.edges(results))


def methods(rules: list[str]) -> dict[str, Method]:
    """Name every method of a run.

    Args:
        rules: The rule sets to attribute with.

    Returns:
        Methods by name: those of `benchmarks.cost.methods`, and two more.
    """
    return {
        **plain.methods(rules),
        report.LOW_MEMORY: low_memory,
        report.INSTRUMENT: instrumenting,
    }


@contextmanager
def low_memory(model: nn.Module, batch: Batch) -> Generator[Call]:
    """Relevance, each block run again in the backward pass."""
    with instrument(model) as lrp:
        yield lambda: lrp.attribute(batch, low_memory=True)


@contextmanager
def instrumenting(model: nn.Module, batch: Batch) -> Generator[Call]:
    """Put the hooks on a model and take them off."""
    yield lambda: instrument(model).remove()


if __name__ == "__main__":
    main()
