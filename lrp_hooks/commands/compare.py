"""``lrp-hooks compare``: several methods over the same text."""

from __future__ import annotations

import json
import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, TextIO

from ..explainers import COMPARED
from ..explainers.compare import compare
from ..render.record import records
from ..results.comparison import Comparison
from ..support.files import write_whole
from .chosen import chosen_model, chosen_target, read_texts, shown
from .outputs import check_outputs, drawn_files

__all__ = ["run"]


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Compare methods on one text, or on the lines of standard input as one batch.

    Args:
        arguments: What the command line says.
        stderr: Where a progress bar goes.
    """
    texts = read_texts(arguments.text)
    check_outputs(arguments)
    model, tokenizer = chosen_model(arguments.model, stderr)
    targets = {
        name: chosen_target(name, model, tokenizer) for name in arguments.target or ()
    }
    stride = arguments.stride
    shown(model, tokenizer, texts, stride)  # refuses a bad text before any work
    progress = stderr if stderr.isatty() else False
    methods = _methods(arguments.methods, targets)
    target = next(iter(targets.values()), None)
    found = compare(
        *(model, texts, methods, tokenizer, target), stride=stride, progress=progress
    )
    files: dict[str | PathLike[str], bytes] = {}
    if arguments.html is not None:
        files[arguments.html] = found.to_html(arguments.rows).encode()
    files |= drawn_files(arguments, found.view())
    if arguments.json is not None:
        files[arguments.json] = json.dumps(_record(found), indent=2).encode()
    write_whole(files)
    print(found.to_terminal())


def _methods(
    given: str | None, targets: Mapping[str, int | None]
) -> Sequence[str] | dict[str, dict[str, Any]]:
    """Return the names of methods; with several targets, each method for each."""
    named = (
        (name.strip() for name in given.split(",")) if given is not None else COMPARED
    )
    names = list(named)
    if len(targets) < 2:
        return names
    return {
        f"{method}: {name}": {"method": method, "target": target}
        for method in names
        for name, target in targets.items()
    }


def _record(found: Comparison) -> dict[str, Any]:
    """Return scores, agreement and costs as JSON."""
    return {
        "explanations": {
            label: records(view) for label, view in found.view().views.items()
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
