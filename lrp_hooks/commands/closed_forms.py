"""``lrp-hooks closed-forms``: closed forms beside autograd and LIME, with errors."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, TextIO

from torch import Tensor

from ..errors import ArgumentError
from ..explainers import closed_form
from ..explainers.closed_form import AttentionClassifier, Verification
from ..explainers.closed_form.files import split
from ..support.table import aligned
from .outputs import check_outputs, deliver, json_file

__all__ = ["run"]

FORMS: dict[str, Callable[[AttentionClassifier, Tensor], Tensor]] = {
    "attention": closed_form.attention,
    "max": partial(closed_form.attention, heads="max"),
    "gradient": closed_form.gradient,
    "l1": partial(closed_form.gradient, kind="l1"),
    "l2": partial(closed_form.gradient, kind="l2"),
    "x input": partial(closed_form.gradient, kind="input"),
    "LIME": closed_form.lime_limit,
    "Eq. 19": closed_form.lime_approximation,
}
"""Every closed form, by the head of its column."""


def run(arguments: Namespace, stderr: TextIO) -> None:
    """Print, and on request write, the errors of all closed forms.

    Args:
        arguments: What the command line says.
        stderr: Unused: it takes seconds.
    """
    check_outputs(arguments)
    _check_both(arguments)
    if arguments.model is None:
        table = closed_form.verify_closed_forms()
        deliver(json_file(arguments, _record(table)), str(table))
        return
    model, words = closed_form.load_classifier(arguments.model)
    ids = closed_form.document(arguments.text, words, model.max_length)
    names = dict(enumerate(words, 2))
    places = [t for t, i in enumerate(ids.tolist()) if i in names]
    tokens = [names[int(ids[t])] for t in places]
    scores = {name: form(model, ids)[places] for name, form in FORMS.items()}
    shown = [*_unread(arguments.text, words, len(tokens)), _scores(tokens, scores)]
    record: dict[str, Any] = {
        "tokens": tokens,
        "scores": {name: column.tolist() for name, column in scores.items()},
    }
    if len(set(tokens)) <= closed_form.MOST_WORDS:
        table = closed_form.verify_closed_forms(model, ids)
        record |= _record(table)
        shown.append(str(table))
    else:
        shown.append(_gradient_error(model, ids))
    deliver(json_file(arguments, record), "\n\n".join(shown))


def _unread(text: str, words: Sequence[str], read: int) -> list[str]:
    """Count the words that the classifier does not know, and those that it cuts."""
    given = split(text)
    unknown = len([word for word in given if word not in set(words)])
    cut = len(given) - unknown - read
    said = {"unknown to the classifier": unknown, "beyond its length": max(cut, 0)}
    left = [f"{count} {what}" for what, count in said.items() if count]
    if not left:
        return []
    return [f"of {len(given)} words {' and '.join(left)} are left out"]


def _check_both(arguments: Namespace) -> None:
    """Refuse a model without a text, or a text without a model.

    Raises:
        ArgumentError: If one of them is missing.
    """
    if (arguments.model is None) != (arguments.text is None):
        given, missing = ("--model", "--text TEXT")
        if arguments.model is None:
            given, missing = ("--text", "--model FILE")
        raise ArgumentError(f"{given} came alone; give {missing} with it, or neither.")


def _record(table: Verification) -> dict[str, Any]:
    """Return the errors as JSON."""
    rows = [{**asdict(row), "holds": row.holds} for row in table]
    return {"holds": table.holds, "rows": rows}


def _scores(tokens: list[str], scores: dict[str, Tensor]) -> str:
    """Lay out each form's score of each word."""
    lines = [
        (token, *(f"{float(column[t]):+.4f}" for column in scores.values()))
        for t, token in enumerate(tokens)
    ]
    return "\n".join(aligned([("word", *scores), *lines]))


def _gradient_error(model: AttentionClassifier, ids: Tensor) -> str:
    """Say how far the gradient is from autograd, where subsets are too many."""
    found = closed_form.quant_gradient(model, [ids])
    return (
        f"gradient against autograd: {float(found.error / found.scale):.1e} of the "
        f"largest component. A text of at most {closed_form.MOST_WORDS} distinct words "
        "is verified against all their subsets, too."
    )
