"""``lrp-hooks answer``: which parts of a prompt made a language model answer so."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from os import PathLike
from pathlib import Path
from typing import Any, TextIO

from ..answers import explain_answer
from ..answers.record import record
from ..errors import ArgumentError, TextError
from .chosen import chosen_model
from .outputs import check_outputs, deliver, drawn_files, json_file

__all__ = ["run"]

STANDARD_INPUT = "-"


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Explain an answer that is given, or that the model writes.

    Args:
        arguments: What the command line says.
        stderr: Where waiting is told.
    """
    check_outputs(arguments)
    prompt = _text("--prompt", arguments.prompt)
    answer = None if arguments.answer is None else _text("--answer", arguments.answer)
    most = arguments.max_new_tokens
    options: dict[str, Any] = {
        name: value
        for name in ("spans", "target", "rules", "hops", "method", "calls")
        if (value := getattr(arguments, name)) is not None
    }
    if arguments.sources is not None:
        options["sources"] = _sources(arguments.sources)
    model, tokenizer = chosen_model(arguments.model, stderr)
    found = explain_answer(
        *(model, tokenizer, prompt, answer),
        max_new_tokens=200 if answer is None and most is None else most,
        chat=arguments.chat,
        low_memory=arguments.low_memory,
        **options,
    )
    files: dict[str | PathLike[str], bytes] = {}
    if arguments.html is not None:
        files[arguments.html] = found.to_html().encode()
    files |= drawn_files(arguments, found.view())
    files |= json_file(arguments, record(found))
    deliver(files, f"{found.to_terminal()}")


def _text(option: str, path: str) -> str:
    """Return a file's text, or standard input, without the line break that ends it.

    Raises:
        ArgumentError: If it cannot be read.
        TextError: If it is no text.
    """
    try:
        if path == STANDARD_INPUT:
            text = sys.stdin.read() if sys.stdin else ""
        else:
            text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TextError(f"{option} {path!r} is no valid UTF-8: {error}.") from error
    except OSError as error:
        raise ArgumentError(
            f"{option} {path!r} cannot be read: {error.strerror}. Name a text file, or "
            "- for standard input."
        ) from error
    return text.removesuffix("\n").removesuffix("\r")


def _sources(given: str) -> str | list[str]:
    """Return a unit, or the passages in a file of JSON lines.

    Raises:
        TextError: If a line is neither a string nor an object with a ``"text"``.
    """
    if not given.endswith((".jsonl", ".json", ".ndjson")):
        return given
    passages = []
    lines = _text("--sources", given).splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise TextError(
                f"--sources {given!r}, line {number}, is no JSON: {error}."
            ) from error
        text = entry.get("text") if isinstance(entry, dict) else entry
        if not isinstance(text, str):
            raise TextError(
                f"--sources {given!r}, line {number}, has no text; write a passage as "
                'a JSON string, or as an object such as {"text": "..."}.'
            )
        passages.append(text)
    return passages
