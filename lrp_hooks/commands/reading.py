"""Texts from standard input and from files, in whichever encoding."""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path

from ..errors import ArgumentError, LrpHooksWarning, TextError
from ..texts.given import Text

__all__ = ["STANDARD_INPUT", "file_text", "read_prompt", "read_texts"]

STANDARD_INPUT = "-"


def read_texts(
    text: str, pair: str | None = None, encoding: str | None = None
) -> list[Text]:
    """Return the texts that an argument stands for.

    Args:
        text: A text, or ``-`` for the lines of standard input.
        pair: The second text of a pair with each of them. Defaults to ``None``: there
            are no pairs.
        encoding: Of standard input. Defaults to ``None``: what Python takes it for.

    Returns:
        The texts; blank lines of standard input are none, and a warning counts those
        between others.
    """
    texts = [text] if text != STANDARD_INPUT else _lines(encoding)
    return [each if pair is None else (each, pair) for each in texts]


def read_prompt(text: str, encoding: str | None = None) -> str:
    """Return the prompt that an argument stands for.

    Args:
        text: A text, or ``-`` for all of standard input.
        encoding: Of standard input. Defaults to ``None``: what Python takes it for.

    Returns:
        The prompt, without the line break that ends standard input.

    Raises:
        TextError: If there is nothing to read.
    """
    if text != STANDARD_INPUT:
        return text
    given = _without_end(_standard_input(encoding))
    if not given.strip():
        raise TextError("standard input is blank. Pass the prompt.")
    return given


def file_text(option: str, path: str, encoding: str | None = None) -> str:
    """Return a file's text, or standard input, without the line break that ends it.

    Args:
        option: What names the file, for messages.
        path: The file, or ``-``.
        encoding: Of either. Defaults to ``None``: UTF-8 of a file.

    Returns:
        The text.

    Raises:
        ArgumentError: If the file cannot be read.
        TextError: If it is no text.
    """
    if path == STANDARD_INPUT:
        return _without_end(_standard_input(encoding))
    try:
        text = Path(path).read_text(encoding=encoding or "utf-8")
    except UnicodeError as error:
        raise TextError(_no_text(f"{option} {path!r}", encoding, error)) from error
    except OSError as error:
        raise ArgumentError(
            f"{option} {path!r} cannot be read: {error.strerror}. Name a text file, or "
            "- for standard input."
        ) from error
    return _without_end(text)


def _lines(encoding: str | None) -> list[str]:
    """Return the lines of standard input that are not blank.

    Raises:
        TextError: If it is empty or no text.
    """
    given = _standard_input(encoding)
    lines = given.rstrip().split("\n")
    texts = [line for line in lines if line.strip()]
    if not texts:
        what = "blank" if given else "empty"
        raise TextError(f"standard input is {what}. Pass one text a line.")
    if len(texts) < len(lines):
        warnings.warn(
            f"{len(lines) - len(texts)} of {len(lines)} lines of standard input are "
            "blank and left out.",
            LrpHooksWarning,
            stacklevel=2,
        )
    return texts


def _standard_input(encoding: str | None) -> str:
    """Return all of standard input.

    Raises:
        TextError: If it is no text.
    """
    if not sys.stdin:
        return ""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding=encoding, errors="strict")
    try:
        return sys.stdin.read()
    except UnicodeError as error:
        raise TextError(_no_text("standard input", encoding, error)) from error


def _no_text(what: str, encoding: str | None, error: UnicodeError) -> str:
    named = encoding or "UTF-8"
    return f"{what} is no valid {named}: {error}. Say what it is: --encoding NAME."


def _without_end(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")
