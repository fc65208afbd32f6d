"""``lrp-hooks compare``: several methods over the same text."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from typing import Any, TextIO

from ..errors import ArgumentError
from ..explainers import COMPARED
from ..explainers.compare import compare
from ..render.record import records
from ..results.comparison import Comparison
from ..results.explanation_view import view
from .beside import Perceived, check_beside, has_beside, perceived
from .chosen import (
    asked_target,
    check_inputs,
    check_one_target,
    chosen_model,
    chosen_target,
)
from .methods import methods_named
from .outputs import check_outputs, deliver, drawn_files, json_file
from .reading import read_texts

__all__ = ["run"]


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Compare methods on one text, or on the lines of standard input as one batch.

    Args:
        arguments: What the command line says.
        stderr: Where a progress bar goes.
    """
    check_one_target(arguments)
    given = _given(arguments, stderr)
    inputs, model, tokenizer = given.inputs, given.model, given.tokenizer
    targets = {
        name: chosen_target(name, model, tokenizer) for name in arguments.target or ()
    }
    target = next(iter(targets.values()), None)
    if arguments.contrast is not None:
        target = asked_target(arguments, model, tokenizer)
    found = compare(
        *(model, inputs, _methods(arguments.methods, targets), tokenizer, target),
        stride=arguments.stride,
        progress=stderr if stderr.isatty() else False,
    )
    for explanation in found.explanations.values():
        given.timed(explanation)
    if arguments.words:
        merged = {label: own.words() for label, own in found.explanations.items()}
        found = replace(found, explanations=merged)
    files: dict[str | PathLike[str], bytes] = {}
    if arguments.html is not None:
        files[arguments.html] = found.to_html(arguments.rows).encode()
    files |= drawn_files(arguments, found.view())
    files |= json_file(arguments, _record(found))
    deliver(files, found.to_terminal())


def _given(arguments: Namespace, stderr: TextIO) -> Perceived:
    """Return texts, a picture or a sound, the model that reads them, its tokenizer.

    Raises:
        ArgumentError: If there is nothing to explain.
    """
    if has_beside(arguments):
        check_beside(arguments)
        check_outputs(arguments)
        return perceived(arguments, stderr)
    if arguments.text is None:
        raise ArgumentError(
            "there is nothing to explain. Pass TEXT, - for the lines of standard "
            "input, --image FILE or --audio FILE. Try: lrp-hooks compare --help"
        )
    texts = read_texts(arguments.text, arguments.text_pair, arguments.encoding)
    check_outputs(arguments)
    model, tokenizer = chosen_model(arguments.model, stderr)
    check_inputs(model, tokenizer, texts, arguments.stride)
    return Perceived(model, tokenizer, texts, {})


def _methods(
    given: str | None, targets: Mapping[str, int | None]
) -> dict[str, dict[str, Any]]:
    """Return methods by their labels; with several targets, each method for each.

    Raises:
        ArgumentError: If one is no method that `compare` knows.
    """
    listed = COMPARED if given is None else [n.strip() for n in given.split(",")]
    named = methods_named(listed)
    for label, options in named.items():
        if "complete" in options:
            raise ArgumentError(
                f"method {label!r} gives back what biases took, which lrp-hooks "
                "evaluate does; compare shows scores as they are."
            )
    if len(targets) < 2:
        return named
    return {
        f"{label}: {name}": {**options, "target": target}
        for label, options in named.items()
        for name, target in targets.items()
    }


def _record(found: Comparison) -> dict[str, Any]:
    """Return scores, agreement and costs as JSON."""
    return {
        "explanations": {
            label: records(view(each, whole=True))
            for label, each in found.explanations.items()
        },
        "agreement": {
            measure: found.agreement(measure).tolist()
            for measure in ("spearman", "kendall", "sign", "top_k")
        },
        "costs": {label: vars(cost) for label, cost in found.costs.items()},
        "failures": found.failures,
    }
