"""Measures the scope alone: ``python -m benchmarks.overhead.run``.

Plain Gradient x Input, beside the same calls on a model that is instrumented with the
rule set ``gradient``: there every function passes the scope, and none has a rule.
"""

from __future__ import annotations

import statistics
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import lrp_hooks

from ..cost import timing
from ..cost.cases import Case, build_model, load_config, random_batch
from ..cost.methods import Batch, Call, gradient_x_input
from . import page

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
LIMIT = 1.03


@contextmanager
def in_a_scope(model: nn.Module, batch: Batch, rules: str) -> Generator[Call]:
    """Gradient x Input on an instrumented model.

    Args:
        model: The model.
        batch: Its keyword arguments.
        rules: The rule set.

    Yields:
        The call.
    """
    # Plain gradients need no scope unless somebody's override asks for one.
    linear = next(m for m in model.modules() if isinstance(m, nn.Linear))
    own = {linear: lrp_hooks.RuleSet.named(rules).linear}
    with lrp_hooks.instrument(model, rules, overrides=own):
        with gradient_x_input(model, batch, trainable=False) as call:
            yield call


def measure(config: dict[str, Any]) -> dict[str, Any]:
    """Run both methods, interleaved.

    Args:
        config: What ``config.json`` holds.

    Returns:
        The results, with CPU seconds of every round.
    """
    torch.set_num_threads(config["threads"])
    case = Case(**config["case"])
    model = build_model(load_config(), case.model)
    batch = random_batch(model, case, config["seed"])
    methods = {
        "plain": partial(gradient_x_input, trainable=False),
        "in a scope": partial(in_a_scope, rules=config["rules"]),
    }
    for method in methods.values():
        timing.timed(method, model, batch)
    rounds = config["rounds"]
    calls = {n: partial(timing.timed, m, model, batch) for n, m in methods.items()}
    seconds = timing.interleave(calls, budget=float("inf"), rounds=(rounds, rounds))
    return {"config": config, "versions": page.versions(), "seconds": seconds}


def table(results: dict[str, Any]) -> str:
    """Write the results as Markdown.

    Args:
        results: What `measure` returned.

    Returns:
        A table and a line that says whether the limit is kept.
    """
    seconds, case = results["seconds"], Case(**results["config"]["case"])
    plain = statistics.median(seconds["plain"])
    ratio = timing.median_ratio(seconds, "in a scope", "plain")
    verdict = "kept" if ratio <= LIMIT else "missed"
    return (
        "| model | Gradient x Input, s | in a scope / plain |\n| --- | ---: | ---: |\n"
        f"| {case.name} | {plain:.3f} | {ratio:.3f} |\n\n"
        f"The limit of {LIMIT:.2f} is {verdict}: median of {len(seconds['plain'])} "
        f"interleaved rounds, {results['config']['threads']} thread, "
        f"torch {results['versions']['torch']}."
    )


def main() -> None:
    """Measure, save, and rewrite the table in this folder's page."""
    page.command(__doc__, "overhead", HERE / "config.json", RESULTS, measure, table)


if __name__ == "__main__":
    main()
