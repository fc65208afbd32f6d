"""``lrp-hooks compare``: several methods over the same text."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from typing import Any, TextIO

from torch import nn

from ..errors import ArgumentError
from ..explainers import COMPARED
from ..explainers.compare import compare
from ..render.record import records
from ..results.comparison import Comparison
from .chosen import (
    asked_target,
    check_inputs,
    check_one_target,
    chosen_model,
    chosen_target,
)
from .methods import methods_named
from .outputs import check_outputs, deliver, drawn_files, json_file
from .pictures import check_picture, pictured
from .reading import read_texts

__all__ = ["run"]


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Compare methods on one text, or on the lines of standard input as one batch.

    Args:
        arguments: What the command line says.
        stderr: Where a progress bar goes.
    """
    check_one_target(arguments)
    inputs, model, tokenizer = _given(arguments, stderr)
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
    if arguments.words:
        merged = {label: own.words() for label, own in found.explanations.items()}
        found = replace(found, explanations=merged)
    files: dict[str | PathLike[str], bytes] = {}
    if arguments.html is not None:
        files[arguments.html] = found.to_html(arguments.rows).encode()
    files |= drawn_files(arguments, found.view())
    files |= json_file(arguments, _record(found))
    deliver(files, found.to_terminal())


def _given(arguments: Namespace, stderr: TextIO) -> tuple[Any, nn.Module, Any]:
    """Return texts or a picture, the model that reads them, and its tokenizer.

    Raises:
        ArgumentError: If there is nothing to explain.
    """
    if arguments.image is not None:
        check_picture(arguments)
        check_outputs(arguments)
        seen = pictured(arguments, stderr)
        return seen.inputs, seen.model, seen.tokenizer
    if arguments.text is None:
        raise ArgumentError(
            "there is nothing to explain. Pass TEXT, - for the lines of standard "
            "input, or --image FILE. Try: lrp-hooks compare --help"
        )
    texts = read_texts(arguments.text, arguments.text_pair, arguments.encoding)
    check_outputs(arguments)
    model, tokenizer = chosen_model(arguments.model, stderr)
    check_inputs(model, tokenizer, texts, arguments.stride)
    return texts, model, tokenizer


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
            label: records(view) for label, view in found.view().views.items()
        },
        "agreement": {
            measure: found.agreement(measure).tolist()
            for measure in ("spearman", "kendall", "sign", "top_k")
        },
        "costs": {label: vars(cost) for label, cost in found.costs.items()},
        "failures": found.failures,
    }
