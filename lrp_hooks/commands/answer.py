"""``lrp-hooks answer``: which parts of a prompt made a language model answer so."""

from __future__ import annotations

import json
from argparse import Namespace
from os import PathLike
from typing import Any, TextIO

from ..answers import explain_answer
from ..answers.record import record
from ..errors import TextError
from .beside import Prompt, has_beside, prompted
from .chosen import chosen_model
from .outputs import check_outputs, deliver, drawn_files, json_file
from .reading import file_text

__all__ = ["run"]


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Explain an answer that is given, or that the model writes.

    Args:
        arguments: What the command line says.
        stderr: Where waiting is told.
    """
    check_outputs(arguments)
    coded = arguments.encoding
    prompt = file_text("--prompt", arguments.prompt, coded)
    answer = None
    if arguments.answer is not None:
        answer = file_text("--answer", arguments.answer, coded)
    most = arguments.max_new_tokens
    options: dict[str, Any] = {
        name: value
        for name in ("spans", "target", "rules", "wrt", "hops", "method", "calls")
        if (value := getattr(arguments, name)) is not None
    }
    if arguments.sources is not None:
        options["sources"] = _sources(arguments.sources, coded)
    if has_beside(arguments):
        given = prompted(arguments, prompt, stderr)
    else:
        given = Prompt(*chosen_model(arguments.model, stderr), prompt, None)
    found = explain_answer(
        *(given.model, given.tokenizer, given.prompt, answer),
        processor=given.processor,
        max_new_tokens=200 if answer is None and most is None else most,
        chat=arguments.chat and isinstance(given.prompt, str),
        low_memory=arguments.low_memory,
        **options,
    )
    files: dict[str | PathLike[str], bytes] = {}
    if arguments.html is not None:
        files[arguments.html] = found.to_html().encode()
    files |= drawn_files(arguments, found.view())
    files |= json_file(arguments, record(found))
    deliver(files, f"{found.to_terminal()}")


def _sources(given: str, encoding: str | None) -> str | list[str]:
    """Return a unit, or the passages in a file of JSON lines.

    Raises:
        TextError: If a line is neither a string nor an object with a ``"text"``.
    """
    if not given.endswith((".jsonl", ".json", ".ndjson")):
        return given
    passages = []
    lines = file_text("--sources", given, encoding).splitlines()
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
