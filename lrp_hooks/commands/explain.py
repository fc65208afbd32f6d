"""``lrp-hooks explain``: a text or many, to the terminal and into files."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any, TextIO

from torch import nn
from tqdm import tqdm

from .. import explainers, render
from ..attribution.readout import label_ids
from ..engine.ruleset import RuleSet
from ..errors import ArgumentError, TargetError, TextError
from ..explainers.explain import explain
from ..render.record import records
from ..results.explanation import Explanation
from ..sentiment import sentiment_model
from ..support.files import StrPath, write_whole
from ..support.suggest import did_you_mean
from ..support.text import visible
from ..texts.encoding import encode, is_language_model
from ..texts.loading import load_folder
from ..texts.prediction import Prediction, predict
from ..views.explanation import Sheet
from .outputs import check_outputs, drawn_files

__all__ = ["chosen_model", "chosen_target", "read_texts", "run"]

MOST_DIGITS = 19  # of an id; Python refuses to read some thousands

Found = tuple[str, Prediction | None, Explanation]


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Explain one text, or each line of standard input.

    Files are written, and then anything is printed, once all texts are explained.

    Args:
        arguments: What the command line says.
        stderr: Where a progress bar goes.
    """
    texts = read_texts(arguments.text)
    options = _options(arguments)
    model, tokenizer = chosen_model(arguments.model)
    target = chosen_target(arguments.target, model, tokenizer)
    encode(model, tokenizer, texts)  # refuses a bad text before any work on good ones
    bar = tqdm(
        texts, file=stderr, leave=False, disable=not _wants_bar(arguments, stderr)
    )
    found = []
    for text in bar:
        explanation = explain(
            model, text, arguments.method, tokenizer, target, **options
        )
        prediction = predict(model, tokenizer, encode(model, tokenizer, [text]).batch)
        if prediction is not None:
            explanation.meta["prediction"] = [str(prediction)]
        found.append((text, prediction, explanation))
    write_whole(_files(arguments, found))
    _print(found)


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


def _options(arguments: Namespace) -> dict[str, Any]:
    """Return the explainer's options, once everything but the model is checked."""
    options = {} if arguments.rules is None else {"rules": arguments.rules}
    chosen = explainers.named(arguments.method)
    if options and "rules" not in chosen.options():
        raise ArgumentError(
            f"--rules {arguments.rules!r} goes with --method lrp, not with "
            f"{arguments.method!r}. Leave one of them out."
        )
    if arguments.rules is not None:
        RuleSet.named(arguments.rules)
    check_outputs(arguments)
    return options


def chosen_model(folder: str | None) -> tuple[nn.Module, Any]:
    """Load the model that an argument stands for.

    Args:
        folder: A local folder, or None for the embedded sentiment model.

    Returns:
        The model and its tokenizer.
    """
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


def _wants_bar(arguments: Namespace, stderr: TextIO) -> bool:
    """Return whether there is someone to watch and something to wait for."""
    return arguments.text == "-" and stderr.isatty()


def _files(arguments: Namespace, found: Sequence[Found]) -> dict[StrPath, bytes]:
    """Return the contents of all files that were asked for."""
    files: dict[StrPath, bytes] = {}
    sheet = Sheet([view for _, _, each in found for view in each.view().views])
    if arguments.html is not None:
        files[arguments.html] = render.page(sheet).encode()
    files |= drawn_files(arguments, sheet)
    if arguments.json is not None:
        entries = [_record(*entry) for entry in found]
        plain = entries if arguments.text == "-" else entries[0]
        files[arguments.json] = json.dumps(plain, indent=2).encode()
    return files


def _record(
    text: str, prediction: Prediction | None, explanation: Explanation
) -> dict[str, Any]:
    """Return what is known of one text."""
    said = None if prediction is None else vars(prediction)
    return {"text": text, "prediction": said, **records(explanation.view().views[0])[0]}


def _print(found: Sequence[Found]) -> None:
    """Print predictions, heat maps and ledgers."""
    for number, (_, prediction, explanation) in enumerate(found, start=1):
        if len(found) > 1:
            print(f"{chr(10) * (number > 1)}text {number} of {len(found)}")
        if prediction is not None:
            print(f"prediction  {visible(str(prediction))}")
        print(explanation.to_terminal())
