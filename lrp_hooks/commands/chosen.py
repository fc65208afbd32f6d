"""What arguments stand for: texts, a model, a target."""

from __future__ import annotations

import warnings
from argparse import Namespace
from collections.abc import Sequence
from typing import Any, TextIO

from torch import nn

from ..attribution.classes import label_id, label_ids
from ..attribution.readout import Contrast
from ..errors import ArgumentError, TargetError
from ..sentiment import sentiment_model
from ..support.suggest import did_you_mean
from ..tasks import Task, task_of, token_named
from ..texts.encoding import Encoded, encode
from ..texts.given import Text
from ..texts.loading import load_folder
from ..texts.prediction import run
from ..texts.windows import documents
from .waiting import waiting

__all__ = [
    "asked_target",
    "check_inputs",
    "check_one_target",
    "chosen_model",
    "chosen_target",
    "shown",
]

MOST_DIGITS = 19  # of an id; Python refuses to read some thousands


def check_inputs(
    model: nn.Module, tokenizer: Any, texts: Sequence[Text], stride: int | None = None
) -> Encoded:
    """Refuse bad texts, or a model that takes no texts, before any work on good ones.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        texts: At least one.
        stride: How many tokens neighbouring windows have in common. Defaults to
            ``None``: each text is read at once.

    Returns:
        All texts as one batch.
    """
    if stride is None:
        encoded = encode(model, tokenizer, texts)
    else:
        encoded, _ = documents(model, tokenizer, texts, stride)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say was said above
        run(model, shown(model, tokenizer, texts[0], stride)[0])
    return encoded


def shown(
    model: nn.Module, tokenizer: Any, text: Text, stride: int | None
) -> list[Any]:
    """Return what the model is shown of a text.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        text: The text.
        stride: See `check_inputs`.

    Returns:
        One batch, or one for each window.
    """
    if stride is None:
        return [encode(model, tokenizer, [text]).batch]
    _, (read,) = documents(model, tokenizer, [text], stride)
    return [window.encoded.batch for window in read.windows]


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


def asked_target(arguments: Namespace, model: Any, tokenizer: Any) -> Any:
    """Return what ``--target`` or ``--contrast`` asks for.

    Args:
        arguments: What the command line says.
        model: A Hugging Face model.
        tokenizer: Its tokenizer.

    Returns:
        A target as `explain` takes it.
    """
    if arguments.contrast is None:
        return chosen_target(arguments.target, model, tokenizer)
    check_one_target(arguments)
    known = (model, tokenizer, "--contrast")
    pair = [chosen_target(name, *known) for name in arguments.contrast]
    return Contrast(*pair)


def check_one_target(arguments: Namespace) -> None:
    """Refuse two ways to say what is explained.

    Args:
        arguments: What the command line says.

    Raises:
        ArgumentError: If there are both.
    """
    if arguments.contrast is not None and arguments.target is not None:
        raise ArgumentError(
            "--target and --contrast both say what is explained. Leave one of them out."
        )


def chosen_target(
    name: str | None, model: Any, tokenizer: Any, option: str = "--target"
) -> Any:
    """Return the target that an argument stands for.

    Args:
        name: A label, whatever its case, a language model's token, a number, or None;
            ``WORD:LABEL`` or ``POSITION:LABEL`` for a label at a token,
            ``POSITION:TOKEN`` for one of several masks, ``FIRST:LAST`` for a span.
        model: A Hugging Face model.
        tokenizer: Its tokenizer.
        option: What the command line calls it.

    Returns:
        A target as `explain` takes it: None, the prediction, for None.

    Raises:
        TargetError: If the model knows no such thing.
    """
    task = task_of(model)
    if name is None:
        return None
    if task is Task.NEXT_TOKEN:
        return token_named(tokenizer, name)
    if task in {None, Task.MASKED_TOKEN}:
        at_place = _at_place(name, model, task)
        if at_place is not None:
            return at_place
    known, found = label_ids(model), label_id(model, name)
    if found is not None:
        return found
    if name.isdecimal() and len(name) < MOST_DIGITS:
        return int(name)
    some = ", ".join(map(repr, list(known)[:12]))
    raise TargetError(
        f"{option} {name!r} is no label of this model, which has {some}"
        f"{' and others' * (len(known) > 12)}. Its number, a whole one from 0 on, will "
        f"do, too.{did_you_mean(name, known)}"
    )


def _at_place(name: str, model: Any, task: Task | None) -> Any:
    """Read what is said of a place in a text; None for a class's number."""
    place, colon, what = name.rpartition(":")
    if task is Task.MASKED_TOKEN:
        return (int(place), what) if place.isdecimal() and what else name
    if place.isdecimal() and what.isdecimal():
        return int(place), int(what)
    if colon and label_id(model, what) is not None:
        return (int(place) if place.isdecimal() else place), what
    return None if name.isdecimal() else name
