"""What an evaluation is asked to do, checked before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from .. import explainers
from ..attribution.readout import find_logits
from ..attribution.rows import most_rows
from ..errors import ArgumentError, TextError, UnsupportedModelError
from ..explainers.calls import check_number
from ..many.identity import identity_of
from ..support.folders import how_to_load
from ..support.suggest import did_you_mean
from ..tasks import Task, task_of
from ..tasks.kinds import of_classes
from ..texts.encoding import encode
from ..texts.given import Text, as_texts
from ..texts.prediction import run
from .labels import classes_of_those
from .metrics import METRICS, OF_PROBABILITIES
from .plan import BETTER, Plan

__all__ = ["METHODS", "UNLABELLED", "plan_of"]

METHODS = ("lrp", "gradient_x_input", "random_baseline")
SIGNS, TARGETS = ("signed", "absolute"), ("predicted", "label")
UNLABELLED = "it has no label that the model knows."
"""Why a text is left out whose label is None."""
_REPLACEMENTS = ("mask", "unk", "pad", "delete")
# As published by Ali et al.; metrics that start from the same empty input share it.
_UNKNOWN = ("activation", "pruning", "sufficiency")


def plan_of(
    model: nn.Module,
    tokenizer: Any,
    texts: Sequence[Text],
    labels: Sequence[int | str | None] | None = None,
    *,
    methods: Sequence[str] | Mapping[str, Mapping[str, Any]] = METHODS,
    metrics: Sequence[str] | None = None,
    signs: Sequence[str] = ("signed",),
    target: str = "predicted",
    replace_with: str | Mapping[str, str] | None = None,
    chunk: int = 16,
    seed: int = 0,
) -> Plan:
    """Check what an evaluation is asked to do.

    Args:
        model: A classifier of texts.
        tokenizer: Its tokenizer.
        texts: At least one.
        labels: The class or label name of each text, see `classes_of_labels`; a text
            whose label is ``None`` is left out. Defaults to ``None``: unknown.
        methods: Names of methods, or ``{label: options}`` as for `compare`; the option
            ``"complete"`` is `Relevance.complete`'s.
        metrics: Keys of `BETTER`. Defaults to ``None``: the curves, but accuracy where
            there are no labels.
        signs: ``"signed"``, ``"absolute"``, or both: scores as they are, or their
            absolute values. Defaults to signed ones.
        target: The class that is explained, ``"predicted"`` or ``"label"``.
        replace_with: What takes a token's place, ``"mask"``, ``"unk"``, ``"pad"`` or
            ``"delete"``, for all metrics or by metric. Defaults to ``None``: unk
            for activation, pruning and sufficiency, mask for the others.
        chunk: How many texts are explained together, if the model takes several.
        seed: Of random sets of tokens.

    Returns:
        The plan; ``skipped`` lists texts that do not fit the model, or lack a label.

    Raises:
        ArgumentError: If an argument is not as described, or no text fits.
    """
    _check_model(model)
    check_number("chunk", chunk, least=1, whole=True)
    check_number("seed", seed, least=0, whole=True)
    listed = None if isinstance(texts, str) else as_texts(texts)
    if listed is None:
        raise ArgumentError(
            f"texts is a {type(texts).__name__}; it must be a list of at least one "
            "text, or a series, array or column of texts."
        )
    _check_choice("target", target, TARGETS)
    for sign in signs:
        _check_choice("signs", sign, SIGNS)
    task = _task(model)
    _check_tokenizer(tokenizer)
    classes = None if labels is None else _classes(model, labels, len(listed))
    if classes is None and target == "label":
        raise ArgumentError(
            "target='label' explains labels, and there are none. Pass labels=, or on "
            "the command line --label COLUMN."
        )
    chosen = _metrics(metrics, classes is not None, task)
    lengths, skipped = _fit(model, tokenizer, listed, classes)
    _check_classifier(model, tokenizer, listed[lengths.index(max(lengths))])
    return Plan(
        texts=tuple(listed),
        labels=classes,
        methods=_methods(methods),
        metrics=chosen,
        signs=tuple(signs),
        target=target,
        replacements=_replacements(replace_with, chosen, tokenizer),
        chunk=most_rows(model, int(chunk)),
        seed=int(seed),
        identity=identity_of(model, tokenizer),
        skipped=skipped,
        lengths=lengths,
    )


def _check_model(model: Any) -> None:
    """Refuse what is no model.

    Raises:
        ArgumentError: If it is something else.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"model is a {type(model).__name__}; it must be a torch.nn.Module. Of a "
            f"pipeline pass pipe.model and pipe.tokenizer.{how_to_load(model)}"
        )


def _check_tokenizer(tokenizer: Any) -> None:
    """Refuse what is no tokenizer.

    Raises:
        ArgumentError: If it is something else.
    """
    if not hasattr(tokenizer, "all_special_tokens"):
        raise ArgumentError(
            f"tokenizer is a {type(tokenizer).__name__}; it must be the model's "
            "Hugging Face tokenizer."
        )


def _task(model: nn.Module) -> Task:
    """Tell what the logits of whole texts mean.

    Returns:
        The task.

    Raises:
        ArgumentError: If the model has some for each token.
    """
    task = task_of(model)
    if task in {Task.NEXT_TOKEN, Task.MASKED_TOKEN}:
        raise ArgumentError(
            f"model is a {type(model).__name__}, whose task is {task}; methods are put "
            "to the test on models that sort or grade whole texts. Metrics themselves, "
            "such as faithfulness.aopc, take a target at a position, too."
        )
    return of_classes(getattr(model, "config", None)) if task is None else task


def _check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ArgumentError(
            f"{name}={value!r} must be one of {', '.join(map(repr, allowed))}."
            f"{did_you_mean(value, allowed)}"
        )


def _methods(
    methods: Sequence[str] | Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    named = (
        dict(methods) if isinstance(methods, Mapping) else dict.fromkeys(methods, {})
    )
    if not named or isinstance(methods, str):
        raise ArgumentError(
            f"methods={methods!r} must be a list of at least one name, or "
            "{label: options}."
        )
    found = {label: {"method": label, **own} for label, own in named.items()}
    for own in found.values():
        rest = {k: v for k, v in own.items() if k not in {"method", "complete"}}
        explainers.named(own["method"]).check_options(rest)
    return found


def _metrics(
    metrics: Sequence[str] | None, labelled: bool, task: Task
) -> tuple[str, ...]:
    if metrics is None:
        graded = task is Task.REGRESSION
        unlabelled = () if labelled else ("accuracy",)
        left_out: tuple[str, ...] = OF_PROBABILITIES if graded else unlabelled
        return tuple(name for name in METRICS if name not in left_out)
    listed = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    for name in listed:
        _check_choice("metrics", name, tuple(BETTER))
    if not listed:
        raise ArgumentError(f"metrics is empty; choose among {', '.join(BETTER)}.")
    if "accuracy" in listed and not labelled:
        raise ArgumentError(
            "metric 'accuracy' compares predictions with labels, and labels is None."
        )
    return listed


def _replacements(
    given: str | Mapping[str, str] | None, metrics: Sequence[str], tokenizer: Any
) -> dict[str, str]:
    if given is None:
        chosen = {name: _published(name) for name in metrics}
    elif isinstance(given, str):
        chosen = dict.fromkeys(metrics, given)
    else:
        for name in given:
            _check_choice("replace_with", name, tuple(BETTER))
        chosen = {name: given.get(name, _published(name)) for name in metrics}
    for value in chosen.values():
        _check_choice("replace_with", value, _REPLACEMENTS)
    return {name: _existing(value, tokenizer) for name, value in chosen.items()}


def _existing(name: str, tokenizer: Any) -> str:
    """Return a token that a tokenizer has: that one, or the next best."""
    if name == "delete":
        return name
    for other in (name, "mask", "unk", "pad", "eos"):
        if getattr(tokenizer, f"{other}_token_id", None) is not None:
            return other
    raise ArgumentError(
        f"replace_with={name!r}: the tokenizer has neither that token nor another one "
        "that stands for nothing. Pass replace_with='delete'."
    )


def _published(metric: str) -> str:
    return "unk" if metric in _UNKNOWN else "mask"


def _classes(model: nn.Module, labels: Any, texts: int) -> tuple[int | None, ...]:
    """Return labels as classes, None for none.

    Raises:
        ArgumentError: If they are not one for each text.
    """
    classes = classes_of_those(model, labels)
    if len(classes) != texts:
        raise ArgumentError(
            f"labels has {len(classes)} entries for {texts} texts; pass one for each."
        )
    return classes


def _check_classifier(model: nn.Module, tokenizer: Any, text: Text) -> None:
    """Refuse a model that says no class of a text.

    Raises:
        UnsupportedModelError: If its output is no row of logits.
    """
    output = run(model, encode(model, tokenizer, [text]).batch)
    # Of an output with names, others than logits are spans, states or the like.
    named = output.get("logits") if isinstance(output, Mapping) else find_logits(output)
    shape = None if named is None else tuple(named.shape)
    if shape is None or len(shape) != 2 or shape[0] != 1:
        came = "no logits" if shape is None else f"logits of shape {shape}"
        raise UnsupportedModelError(
            f"model is a {type(model).__name__}, which returns {came} for a text; "
            "methods are put to the test on classifiers of texts, which return one row."
        )


def _fit(
    model: nn.Module,
    tokenizer: Any,
    texts: Sequence[Text],
    classes: Sequence[int | None] | None,
) -> tuple[tuple[int, ...], dict[int, str]]:
    """Return the tokens of each text, and why some are left out."""
    lengths, skipped = [], {}
    special = set(tokenizer.all_special_tokens) - {tokenizer.unk_token}
    for row, text in enumerate(texts):
        try:
            tokens = encode(model, tokenizer, [text]).tokens[0]
            if special.issuperset(tokens):
                raise TextError(f"the text has special tokens alone: {text!r}.")
            lengths.append(len(tokens))
        except TextError as error:
            skipped[row] = str(error)
            lengths.append(0)
    if len(skipped) == len(texts):
        raise ArgumentError(
            f"none of the {len(texts)} texts fits the model. The first: {skipped[0]}"
        )
    unlabelled = [row for row, known in enumerate(classes or ()) if known is None]
    skipped = dict.fromkeys(unlabelled, UNLABELLED) | skipped
    if len(skipped) == len(texts):
        raise ArgumentError("none of the texts both fits the model and has a label.")
    return tuple(lengths), skipped
