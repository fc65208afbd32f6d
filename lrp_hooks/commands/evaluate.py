"""``lrp-hooks evaluate``: methods put to the test on the texts of a data file."""

from __future__ import annotations

import json
import warnings
from argparse import Namespace
from collections.abc import Generator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO

from torch import nn
from tqdm import tqdm

from ..errors import ArgumentError, UnruledWarning
from ..faithfulness.chunk import Part, evaluate_chunk
from ..faithfulness.evaluation import Evaluation
from ..faithfulness.labels import classes_of_labels
from ..faithfulness.plan import Plan
from ..faithfulness.planning import METHODS, plan_of
from ..faithfulness.results import Results
from ..support.text import one_line
from ..texts.tables import read_table
from .chosen import chosen_model
from .methods import methods_named
from .outputs import check_outputs, deliver, json_file
from .workers import one_thread, results_of

__all__ = ["run"]

LONGEST_NOTE = 300

Measured = tuple[int, Part, set[str]]
"""The number of a portion, what it brought, and what was warned of."""


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Evaluate methods, or go on where the same command was stopped.

    Args:
        arguments: What the command line says.
        stderr: Where a progress bar goes, and what was left out is told.
    """
    options = _options(arguments)
    check_outputs(arguments)
    labelled = arguments.label if _reads_labels(options) else ""
    texts, labels = read_table(
        arguments.data, arguments.text, labelled, arguments.text_pair
    )
    model, tokenizer = chosen_model(arguments.model, stderr)
    classes = None
    if labels is not None:  # all rows say what labels are, not the first ones alone
        classes = classes_of_labels(model, list(map(str, labels)))[: arguments.limit]
    plan = plan_of(model, tokenizer, texts[: arguments.limit], classes, **options)
    results = Results(arguments.out, plan)
    with one_thread():  # so that the number of workers decides no bit
        _do_the_rest(arguments, (model, tokenizer, plan), results, stderr)
    numbers = range(len(plan.chunks()))
    found = Evaluation(plan, [part for n in numbers if (part := results.read(n))])
    found.check()
    results.finish(found)
    _tell(found, arguments.out, stderr)
    summary = json.loads(Path(arguments.out, "summary.json").read_bytes())
    deliver(json_file(arguments, summary), found.to_terminal())


def _options(arguments: Namespace) -> dict[str, Any]:
    """Return the options of `plan_of`."""
    options = {
        "methods": methods_named(_listed(arguments.methods) or METHODS),
        "metrics": _listed(arguments.metrics),
        "signs": _listed(arguments.sign),
        "target": arguments.target,
        "replace_with": _replacements(arguments.replace_with),
        "chunk": arguments.chunk,
    }
    return {name: value for name, value in options.items() if value is not None}


def _listed(given: str | None) -> list[str] | None:
    """Return names separated by commas."""
    return None if given is None else [name.strip() for name in given.split(",")]


def _replacements(given: str | None) -> str | dict[str, str] | None:
    """Read ``TOKEN``, or ``METRIC=TOKEN`` separated by commas.

    Returns:
        What `plan_of` takes.

    Raises:
        ArgumentError: If a token of several is not said to be a metric's.
    """
    if given is None or "=" not in given:
        return given
    pairs = [one.strip().partition("=") for one in given.split(",")]
    for metric, equals, _ in pairs:
        if not equals:
            raise ArgumentError(
                f"--replace-with {given!r} does not say which metric {metric!r} is "
                "for. Pass one token for all, or METRIC=TOKEN separated by commas."
            )
    return {metric: token for metric, _, token in pairs}


def _reads_labels(options: Mapping[str, Any]) -> bool:
    """Return whether a label decides any number."""
    metrics = options.get("metrics")
    return options["target"] == "label" or metrics is None or "accuracy" in metrics


def _do_the_rest(
    arguments: Namespace,
    stage: tuple[nn.Module, Any, Plan],
    results: Results,
    stderr: TextIO,
) -> None:
    """Measure the portions that are still to be done, and keep each as it comes."""
    chunks = dict(enumerate(stage[-1].chunks()))
    left = {n: rows for n, rows in chunks.items() if results.read(n) is None}
    texts = sum(map(len, chunks.values()))
    bar = tqdm(
        total=texts,
        initial=texts - sum(map(len, left.values())),
        unit="text",
        file=stderr,
        leave=False,
        disable=not stderr.isatty(),
    )
    warned: set[str] = set()
    with bar, closing(_measured(arguments, stage, left)) as measured:
        for number, part, messages in measured:
            results.write(number, part)
            bar.update(len(chunks[number]))
            warned |= messages
    for message in sorted(warned):
        warnings.warn(message, UnruledWarning, stacklevel=2)


def _measured(
    arguments: Namespace,
    stage: tuple[nn.Module, Any, Plan],
    left: Mapping[int, tuple[int, ...]],
) -> Generator[Measured]:
    """Measure portions here, or in processes of their own.

    Yields:
        What each brought, as they get done.
    """
    workers = min(arguments.workers, len(left))
    if workers <= 1:
        for number, rows in left.items():
            yield number, *_measure(stage, rows)
        return
    setup = (arguments.model, stage[-1])
    for done, found in results_of(
        _measure_here, [*left.values()], workers, _set_up, setup
    ):
        yield [*left][done], *found


def _measure(
    stage: tuple[nn.Module, Any, Plan], rows: tuple[int, ...]
) -> tuple[Part, set[str]]:
    """Measure a portion, and collect what modules without rules are warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        part = evaluate_chunk(*stage, rows)
    told = (w for w in caught if issubclass(w.category, UnruledWarning))
    return part, {str(warning.message) for warning in told}


# What a worker process measures with.
_stage: tuple[nn.Module, Any, Plan] | None = None


def _set_up(folder: str | None, plan: Plan) -> None:
    """Load the model in a worker process."""
    global _stage  # noqa: PLW0603 (a process of its own has one model)
    _stage = (*chosen_model(folder), plan)


def _measure_here(rows: tuple[int, ...]) -> tuple[Part, set[str]]:
    assert _stage is not None
    return _measure(_stage, rows)


def _tell(found: Evaluation, out: str, stderr: TextIO) -> None:
    """Say what was left out, in a line each for texts and for methods."""
    if found.skipped:
        first = next(iter(found.skipped))
        _note(
            f"{len(found.skipped)} of {len(found.plan.texts)} rows do not fit the "
            f"model and are left out; all are listed in {Path(out, 'summary.json')}. "
            f"The first is row {first}: {found.skipped[first]}",
            stderr,
        )
    for label, why in found.failures.items():
        _note(f"{label} failed: {why}", stderr)


def _note(text: str, stderr: TextIO) -> None:
    print(one_line(f"lrp-hooks: {text}", LONGEST_NOTE), file=stderr)
