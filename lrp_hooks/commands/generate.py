"""``lrp-hooks generate``: what each token that a language model writes drew on."""

from __future__ import annotations

from argparse import Namespace
from typing import TextIO

from ..engine.ruleset import RuleSet
from ..errors import ArgumentError
from ..generation import explain_generation
from ..generation.record import record
from ..support.files import StrPath
from .chosen import chosen_model
from .outputs import check_outputs, deliver, drawn_files, json_file
from .reading import read_prompt

__all__ = ["run"]

NEW_TOKENS = 20


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Explain what follows a prompt, which the model writes or which is given.

    Args:
        arguments: What the command line says.
        stderr: Where waiting is told.

    Raises:
        ArgumentError: If both or blank text is to follow.
    """
    most, given = arguments.max_new_tokens, arguments.continuation
    if most is not None and given is not None:
        raise ArgumentError(
            "--max-new-tokens lets the model write, and --continuation says what it "
            "wrote. Leave one of them out."
        )
    check_outputs(arguments)
    RuleSet.named(arguments.rules)
    prompt = read_prompt(arguments.text, arguments.encoding)
    model, tokenizer = chosen_model(arguments.model, stderr)
    found = explain_generation(
        *(model, tokenizer, prompt),
        max_new_tokens=most or (NEW_TOKENS if given is None else None),
        continuation=given,
        contrast=arguments.contrast,
        chat=arguments.chat,
        rules=arguments.rules,
    )
    if arguments.words:
        found = found.words()
    files: dict[StrPath, bytes] = {}
    if arguments.html is not None:
        files[arguments.html] = found.to_html().encode()
    files |= drawn_files(arguments, found.view())
    files |= json_file(arguments, record(found))
    deliver(files, found.to_terminal())
