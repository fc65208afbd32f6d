"""What a command is asked to write: refused early, drawn late, delivered at once."""

from __future__ import annotations

import io
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from .. import render
from ..errors import ArgumentError
from ..render.canvas import require_matplotlib
from ..support.files import StrPath, check_writable, write_whole
from ..support.plain_json import to_json

__all__ = ["check_outputs", "deliver", "drawn_files", "json_file"]

STANDARD_OUTPUT = "-"
"""What ``--json`` takes for standard output, as TEXT does for standard input."""
DRAWN = ("png", "svg")
"""Formats that matplotlib writes."""


def check_outputs(arguments: Namespace) -> None:
    """Refuse files that cannot be written, before any work.

    Args:
        arguments: What the command line says; outputs that are not asked for are None.

    Raises:
        ArgumentError: If two outputs are to go into one file.
    """
    kinds = ("html", *DRAWN, "json")
    asked = {kind: getattr(arguments, kind, None) for kind in kinds}
    given = {kind: path for kind, path in asked.items() if path is not None}
    if len({Path(path).resolve() for path in given.values()}) < len(given):
        raise ArgumentError(
            f"two outputs are to go into one file: {', '.join(given.values())}."
        )
    for kind, path in given.items():
        if path == STANDARD_OUTPUT:
            _check_printable(kind)
            continue
        _check_ending(kind, path)
        check_writable(path)
    if given.keys() & set(DRAWN):
        require_matplotlib()


def _check_ending(kind: str, path: str) -> None:
    """Refuse a file name that promises another format.

    Raises:
        ArgumentError: If it ends in anything but its format; no ending will do.
    """
    ending = Path(path).suffix
    allowed = {"", f".{kind}", ".htm" if kind == "html" else ""}
    if ending.lower() not in allowed:
        raise ArgumentError(
            f"--{kind} {path!r} ends in {ending!r}, but {kind.upper()} is what is "
            f"written. Name a file that ends in '.{kind}'."
        )


def _check_printable(kind: str) -> None:
    """Refuse to print what is no JSON.

    Raises:
        ArgumentError: If it is something else.
    """
    if kind != "json":
        raise ArgumentError(
            f"--{kind} '-' would write to standard output, which --json alone does. "
            f"Name a file that ends in '.{kind}'."
        )


def deliver(files: Mapping[StrPath, bytes], text: str) -> None:
    """Write all files, and then print.

    Args:
        files: The contents of each path; that of ``-`` is printed.
        text: What is printed where nothing else is.
    """
    write_whole({p: data for p, data in files.items() if p != STANDARD_OUTPUT})
    printed = files.get(STANDARD_OUTPUT)
    print(text if printed is None else printed.decode())


def json_file(arguments: Namespace, record: object) -> dict[StrPath, bytes]:
    """Write a record as JSON, if that was asked for.

    Args:
        arguments: What the command line says.
        record: What can be said in JSON.

    Returns:
        The contents of the file, or of standard output.
    """
    return {} if arguments.json is None else {arguments.json: to_json(record)}


def drawn_files(arguments: Namespace, view: object) -> dict[StrPath, bytes]:
    """Draw the figures that were asked for.

    Args:
        arguments: What the command line says.
        view: What there is to show of a result.

    Returns:
        The contents of each file.
    """
    files: dict[StrPath, bytes] = {}
    for kind in DRAWN:
        path = getattr(arguments, kind)
        if path is not None:
            buffer = io.BytesIO()
            render.figure(view).savefig(buffer, format=kind)
            files[path] = buffer.getvalue()
    return files
