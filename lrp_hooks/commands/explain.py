"""``lrp-hooks explain``: a text or many, to the terminal and into files."""

from __future__ import annotations

import warnings
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TextIO

from tqdm import tqdm

from .. import explainers, render
from ..engine.ruleset import RuleSet
from ..errors import ArgumentError, ConstantsWarning
from ..explainers.explain import explain
from ..render.record import records
from ..results.explanation import Explanation
from ..results.explanation_view import view
from ..support.files import StrPath
from ..support.marks import spelled
from ..support.text import visible
from ..tasks import Task
from ..texts.given import Text
from ..texts.prediction import Prediction, predict
from ..views.explanation import Sheet
from .beside import check_beside, has_beside, perceived
from .chosen import (
    asked_target,
    check_inputs,
    check_one_target,
    chosen_model,
    shown,
)
from .completed import check_completes, completed
from .data_set import explain_data
from .outputs import check_outputs, deliver, drawn_files, json_file
from .reading import read_texts

__all__ = ["run"]

Found = tuple[Text | None, Prediction | None, Explanation]


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Explain a text, each line of standard input, a picture, a sound, a data set.

    Files are written, and then anything is printed, once all texts are explained.

    Args:
        arguments: What the command line says.
        stderr: Where a progress bar goes.
    """
    check_one_target(arguments)
    if arguments.data is not None:
        explain_data(arguments, _options(arguments), stderr)
        return
    _check_text(arguments)
    with warnings.catch_warnings():
        if arguments.complete is not None:  # then constants are given back
            warnings.simplefilter("ignore", ConstantsWarning)
        if has_beside(arguments):
            found = [_explain_beside(arguments, _options(arguments), stderr)]
        else:
            found = _explain_texts(arguments, stderr)
    deliver(_files(arguments, found), _printed(found))


def _explain_beside(
    arguments: Namespace, options: dict[str, Any], stderr: TextIO
) -> Found:
    """Explain what the model says of a picture or a sound, with a text or without."""
    check_beside(arguments)
    seen = perceived(arguments, stderr)
    target = asked_target(arguments, seen.model, seen.tokenizer)
    explanation = explain(
        *(seen.model, seen.inputs, arguments.method, seen.tokenizer, target), **options
    )
    seen.timed(explanation)
    prediction = predict(seen.model, seen.tokenizer, seen.batch)
    return arguments.text, prediction, _shown(arguments, explanation, prediction)


def _explain_texts(arguments: Namespace, stderr: TextIO) -> list[Found]:
    """Explain texts one by one."""
    texts = read_texts(arguments.text, arguments.text_pair, arguments.encoding)
    options = _options(arguments)
    model, tokenizer = chosen_model(arguments.model, stderr)
    target = asked_target(arguments, model, tokenizer)
    check_inputs(model, tokenizer, texts, arguments.stride)
    bar = tqdm(
        texts, file=stderr, leave=False, disable=not _wants_bar(arguments, stderr)
    )
    found: list[Found] = []
    for text in bar:
        explanation = explain(
            *(model, text, arguments.method, tokenizer, target),
            stride=arguments.stride,
            **options,
        )
        read = shown(model, tokenizer, text, arguments.stride)
        prediction = predict(model, tokenizer, *read)
        found.append((text, prediction, _shown(arguments, explanation, prediction)))
    return found


def _shown(
    arguments: Namespace, explanation: Explanation, prediction: Prediction | None
) -> Explanation:
    """Return an explanation as it is to be shown: completed, or by words."""
    if prediction is not None:
        explanation.meta["prediction"] = [str(prediction)]
    if arguments.complete is not None:
        explanation = completed(explanation, arguments.complete)
    return explanation.words() if arguments.words else explanation


def _check_text(arguments: Namespace) -> None:
    """Refuse a call without anything to explain.

    Raises:
        ArgumentError: If there is no text, or what goes with a data file alone.
    """
    for name in ("out", "column", "label", "batch_size", "address", "sep"):
        if getattr(arguments, name) is not None:
            option = {"column": "text"}.get(name, name).replace("_", "-")
            raise ArgumentError(f"--{option} goes with --data FILE. Name a data file.")
    if arguments.text is None and not has_beside(arguments):
        raise ArgumentError(
            "there is nothing to explain. Pass TEXT, - for the lines of standard "
            "input, --image FILE, --audio FILE, or --data FILE. Try: lrp-hooks explain "
            "--help"
        )


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
    if arguments.complete is not None:
        check_completes(arguments.method, chosen, arguments.complete)
    check_outputs(arguments)
    return options


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
    entries = [_record(arguments, *entry) for entry in found]
    plain = entries if arguments.text == "-" else entries[0]
    return files | json_file(arguments, plain)


def _record(
    arguments: Namespace,
    text: Text | None,
    prediction: Prediction | None,
    explanation: Explanation,
) -> dict[str, Any]:
    """Return what is known of one text, picture or sound."""
    said = None if prediction is None else vars(prediction)
    files = {name: getattr(arguments, name) for name in ("image", "audio")}
    given = {name: path for name, path in files.items() if path is not None}
    given |= dict(zip(("text", "text_pair"), _pieces(text), strict=False))
    return {**given, "prediction": said, **records(view(explanation, whole=True))[0]}


def _pieces(text: Text | None) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text or ()


def _spelled(prediction: Prediction, explanation: Explanation) -> str:
    """Return what the model says; of a token, its text."""
    if explanation.meta.get("task") in {Task.NEXT_TOKEN, Task.MASKED_TOKEN}:
        mark = explanation.meta.get("subwords")
        (label,) = spelled([prediction.label], mark)
        prediction = replace(prediction, label=label)
    return str(prediction)


def _printed(found: Sequence[Found]) -> str:
    """Return predictions, heat maps and ledgers."""
    lines = []
    for number, (_, prediction, explanation) in enumerate(found, start=1):
        if len(found) > 1:
            lines.append(f"{chr(10) * (number > 1)}text {number} of {len(found)}")
        if prediction is not None:
            lines.append(f"prediction  {visible(_spelled(prediction, explanation))}")
        lines.append(explanation.to_terminal())
    return "\n".join(lines)
