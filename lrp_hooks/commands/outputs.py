"""The files that a command is asked to write: refused early, drawn late."""

from __future__ import annotations

import io
from argparse import Namespace
from pathlib import Path

from .. import render
from ..errors import ArgumentError
from ..render.canvas import require_matplotlib
from ..support.files import StrPath, check_writable

__all__ = ["check_outputs", "drawn_files"]

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
