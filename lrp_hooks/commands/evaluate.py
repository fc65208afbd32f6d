"""``lrp-hooks evaluate``: methods put to the test on the texts of a data file."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from ..errors import ArgumentError
from ..faithfulness.evaluation import Evaluation
from ..faithfulness.labels import known_classes
from ..faithfulness.measuring import measured
from ..faithfulness.planning import METHODS, UNLABELLED, plan_of
from ..faithfulness.results import Results
from ..many.engines import as_engine
from ..many.models import Travelling
from ..support.text import one_line
from ..texts.tables import Label, read_table
from .chosen import chosen_model
from .methods import methods_named
from .outputs import check_outputs, deliver, json_file

__all__ = ["run"]

LONGEST_NOTE = 300


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Evaluate methods, or go on where the same command was stopped.

    Args:
        arguments: What the command line says.
        stderr: Where a progress bar goes, and what was left out is told.
    """
    options = _options(arguments)
    engine = as_engine(arguments.engine, arguments.workers, arguments.address)
    check_outputs(arguments)
    labelled = arguments.label if _reads_labels(options) else ""
    texts, labels = read_table(
        *(arguments.data, arguments.text, labelled, arguments.text_pair),
        gaps=True,
        separator=arguments.sep,
        encoding=arguments.encoding,
    )
    model, tokenizer = chosen_model(arguments.model, stderr)
    classes = None
    if labels is not None:  # all rows say what labels are, not the first ones alone
        named = [None if label is None else str(label) for label in labels]
        classes = known_classes(model, named)[: arguments.limit]
        _tell_unlabelled(classes, labels, stderr)
    plan = plan_of(model, tokenizer, texts[: arguments.limit], classes, **options)
    results = Results(arguments.out, plan)
    travelling = Travelling(model, tokenizer, arguments.model)
    with _bar(sum(map(len, plan.chunks())), stderr) as bar:
        parts = measured(travelling, plan, results, engine, bar)
    found = Evaluation(plan, parts)
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


def _bar(texts: int, stderr: TextIO) -> tqdm:
    hidden = not stderr.isatty()
    return tqdm(total=texts, unit="text", file=stderr, leave=False, disable=hidden)


def _tell(found: Evaluation, out: str, stderr: TextIO) -> None:
    """Say what was left out, in a line each for texts and for methods."""
    unfit = {row: why for row, why in found.skipped.items() if why != UNLABELLED}
    if unfit:
        first = next(iter(unfit))
        _note(
            f"{len(unfit)} of {len(found.plan.texts)} rows do not fit the "
            f"model and are left out; all are listed in {Path(out, 'summary.json')}. "
            f"The first is row {first}: {unfit[first]}",
            stderr,
        )
    for label, why in found.failures.items():
        _note(f"{label} failed: {why}", stderr)


def _tell_unlabelled(
    classes: Sequence[int | None], labels: Sequence[Label | None], stderr: TextIO
) -> None:
    """Say how many rows are left out since their label says nothing, and which."""
    rows = [row for row, known in enumerate(classes) if known is None]
    if rows:
        some = ", ".join(
            f"{row} ({'none' if labels[row] is None else repr(labels[row])})"
            for row in rows[:5]
        )
        _note(
            f"{len(rows)} of {len(classes)} rows have no label that the model knows "
            f"and are left out: {some}{' and others' * (len(rows) > 5)}; the first "
            "row is 0. --label '' reads no labels.",
            stderr,
        )


def _note(text: str, stderr: TextIO) -> None:
    print(one_line(f"lrp-hooks: {text}", LONGEST_NOTE), file=stderr)
