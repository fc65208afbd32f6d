"""``lrp-hooks generate``: what each token that a language model writes drew on."""

from __future__ import annotations

from argparse import Namespace
from typing import TextIO

from ..engine.ruleset import RuleSet
from ..errors import ArgumentError
from ..generation import explain_generation
from ..generation.record import record
from ..support.files import StrPath
from .beside import Prompt, has_beside, prompted
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
    read = _prompt(arguments, stderr)
    found = explain_generation(
        *(read.model, read.tokenizer, read.prompt),
        processor=read.processor,
        max_new_tokens=most or (NEW_TOKENS if given is None else None),
        continuation=given,
        contrast=arguments.contrast,
        chat=arguments.chat and isinstance(read.prompt, str),
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


def _prompt(arguments: Namespace, stderr: TextIO) -> Prompt:
    """Return the prompt, and the model that goes on behind it.

    Raises:
        ArgumentError: If there is none.
    """
    beside = has_beside(arguments)
    if arguments.text is None and not beside:
        raise ArgumentError(
            "there is no prompt. Pass TEXT, - for standard input, or --image FILE or "
            "--audio FILE. Try: lrp-hooks generate --help"
        )
    text = arguments.text
    if text is not None:
        text = read_prompt(text, arguments.encoding)
    if beside:
        return prompted(arguments, text, stderr)
    return Prompt(*chosen_model(arguments.model, stderr), text, None)
