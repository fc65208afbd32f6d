"""``lrp-hooks compare``: several methods over the same text."""

from __future__ import annotations

import json
import math
from argparse import Namespace
from os import PathLike
from typing import Any, TextIO

from .comparison import METHODS, Comparison, compare
from .encoding import encode
from .explain_command import check_outputs, chosen_model, chosen_target, read_texts
from .files import write_whole
from .render.record import records

__all__ = ["run"]


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Compare methods on one text, or on the lines of standard input as one batch.

    Args:
        arguments: What the command line says.
        stderr: Unused.
    """
    texts = read_texts(arguments.text)
    check_outputs(arguments.html, arguments.json)
    model, tokenizer = chosen_model(arguments.model)
    target = chosen_target(arguments.target, model, tokenizer)
    encode(model, tokenizer, texts)  # refuses a bad text before any work
    methods = METHODS
    if arguments.methods is not None:
        methods = tuple(name.strip() for name in arguments.methods.split(","))
    found = compare(model, texts, methods, tokenizer, target)
    files: dict[str | PathLike[str], bytes] = {}
    if arguments.html is not None:
        files[arguments.html] = found.to_html().encode()
    if arguments.json is not None:
        files[arguments.json] = json.dumps(_record(found), indent=2).encode()
    write_whole(files)
    print(found.to_terminal())


def _record(found: Comparison) -> dict[str, Any]:
    """Return scores, agreement and costs as JSON."""
    return {
        "explanations": {
            label: records(each) for label, each in found.explanations.items()
        },
        "agreement": {
            measure: [
                [None if math.isnan(value) else value for value in row]
                for row in found.agreement(measure).tolist()
            ]
            for measure in ("spearman", "kendall", "sign", "top_k")
        },
        "costs": {label: vars(cost) for label, cost in found.costs.items()},
        "failures": found.failures,
    }
