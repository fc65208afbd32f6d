"""What arguments stand for: texts, a model, a target."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, TextIO

from torch import nn

from ..attribution.readout import label_ids
from ..errors import TargetError, TextError
from ..sentiment import sentiment_model
from ..support.suggest import did_you_mean
from ..texts.encoding import encode, is_language_model
from ..texts.loading import load_folder
from ..texts.windows import documents
from .waiting import waiting

__all__ = ["chosen_model", "chosen_target", "read_texts", "shown"]

MOST_DIGITS = 19  # of an id; Python refuses to read some thousands


def read_texts(text: str) -> list[str]:
    """Return the texts that an argument stands for.

    Args:
        text: A text, or ``-`` for the lines of standard input.

    Returns:
        The texts, blank ones included but for those at the end.

    Raises:
        TextError: If standard input is empty or no text.
    """
    if text != "-":
        return [text]
    try:
        given = sys.stdin.read() if sys.stdin else ""
    except UnicodeDecodeError as error:
        raise TextError(f"standard input is no valid text: {error}.") from error
    if not given:
        raise TextError("standard input is empty. Pass one text a line.")
    lines = given.split("\n")
    while len(lines) > 1 and not lines[-1].strip():
        lines.pop()  # blank lines at the end are no texts
    return lines


def chosen_model(
    folder: str | None, stderr: TextIO | None = None
) -> tuple[nn.Module, Any]:
    """Load the model that an argument stands for.

    Args:
        folder: A local folder, or None for the embedded sentiment model.
        stderr: Where to say that this takes a while. Defaults to ``None``: nowhere.

    Returns:
        The model and its tokenizer.
    """
    with waiting(stderr, "loading the model"):
        return sentiment_model() if folder is None else load_folder(folder)


def chosen_target(name: str | None, model: Any, tokenizer: Any) -> int | None:
    """Return the id that an argument stands for.

    Args:
        name: A label, a language model's token, a number, or None.
        model: A Hugging Face model.
        tokenizer: Its tokenizer.

    Returns:
        The id; None, the prediction, for None.

    Raises:
        TargetError: If the model knows no such thing.
    """
    if name is None:
        return None
    speaks = is_language_model(model)
    known = tokenizer.get_vocab() if speaks else label_ids(model)
    if name in known:
        return int(known[name])
    if name.isdecimal() and len(name) < MOST_DIGITS:
        return int(name)
    kind = "token" if speaks else "label"
    some = ", ".join(map(repr, list(known)[:12]))
    raise TargetError(
        f"--target {name!r} is no {kind} of this model, which has {some}"
        f"{' and others' * (len(known) > 12)}. Its number, a whole one from 0 on, will "
        f"do, too.{did_you_mean(name, known)}"
    )


def shown(
    model: nn.Module, tokenizer: Any, texts: Sequence[str], stride: int | None
) -> list[list[Any]]:
    """Return what the model is shown of each text.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        texts: All of them; a bad one is refused by its number.
        stride: How many tokens neighbouring windows have in common; None where a text
            is read at once.

    Returns:
        For each text its batches: one, or one for each window.
    """
    if stride is None:
        encode(model, tokenizer, texts)
        return [[encode(model, tokenizer, [text]).batch] for text in texts]
    _, read = documents(model, tokenizer, texts, stride)
    return [[window.encoded.batch for window in each.windows] for each in read]
