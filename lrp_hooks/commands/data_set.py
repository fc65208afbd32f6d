"""``lrp-hooks explain --data``: a data set, into a folder of parquet files."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from ..errors import ArgumentError, TextError
from ..many.asked import Asked
from ..many.engines import as_engine
from ..many.models import Travelling
from ..many.run import Summary, run
from ..texts.formats import read_columns
from ..texts.listing import as_list
from .chosen import asked_target, chosen_model

__all__ = ["explain_data"]

_OF_A_TEXT = (
    *("text", "text_pair", "image", "complete", "words"),
    *("html", "png", "svg", "json"),
)


def explain_data(
    arguments: Namespace, options: Mapping[str, Any], stderr: TextIO
) -> None:
    """Explain a data set, or go on where the same command was stopped.

    Args:
        arguments: What the command line says.
        options: Of the explainer.
        stderr: Where a progress bar goes.

    Raises:
        ArgumentError: If an argument is missing, or goes with a text alone.
        TextError: If none of the texts was explained.
    """
    for name in _OF_A_TEXT:
        if getattr(arguments, name) not in {None, False}:
            said = "TEXT" if name == "text" else f"--{name.replace('_', '-')}"
            raise ArgumentError(
                f"{said} does not go with --data. Leave one of them out."
            )
    if arguments.out is None:
        raise ArgumentError("--data needs a folder for what is found. Pass --out DIR.")
    engine = as_engine(arguments.engine, arguments.workers, arguments.address)
    if arguments.stride is not None:
        options = {**options, "stride": arguments.stride}
    model, tokenizer = chosen_model(arguments.model, stderr)
    asked = Asked(
        (arguments.column or "text",),
        arguments.label,
        asked_target(arguments, model, tokenizer),
        arguments.method,
        options,
        arguments.batch_size,
    )
    asked.check()
    travelling = Travelling(model, tokenizer, arguments.model)
    data = _data(arguments)
    found = run(travelling, data, arguments.out, asked, engine, stderr)
    print(_told(found, arguments.out))
    if found.texts and found.failed == found.texts:
        raise TextError(
            f"none of the texts was explained; the column error in {arguments.out!r} "
            "says why of each."
        )


def _data(arguments: Namespace) -> Any:
    """Return the file, or its columns where it is said how it is written."""
    if arguments.sep is None and arguments.encoding is None:
        return arguments.data
    columns = read_columns(Path(arguments.data), arguments.sep, arguments.encoding)
    return {name: as_list(values) for name, values in columns}


def _told(found: Summary, out: str) -> str:
    bad = f", {found.failed} of them not explained (see column error)" * bool(
        found.failed
    )
    return f"{found.texts} texts{bad}: {out}"
