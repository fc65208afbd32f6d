"""Explain the same outputs by several methods, and count what each costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol, TextIO, runtime_checkable

from torch import Tensor, nn
from tqdm import tqdm

from .. import explainers
from ..attribution.sharing import Passes, sharing, unshared
from ..errors import ArgumentError, LrpHooksError
from ..results.comparison import Comparison, Cost
from ..results.explanation import Explanation
from ..tasks import Task
from .explain import Question, answer, asked
from .lrp import keeping_instrumented

__all__ = ["compare"]


@runtime_checkable
class SelfJudging(Protocol):
    """An explanation that says in plain words what it is worth.

    Attributes:
        verdicts: One sentence for each example.
    """

    verdicts: list[str]


def compare(
    model: Any,
    inputs_or_text: Any,
    methods: Sequence[str] | Mapping[str, Mapping[str, Any]] | None = None,
    tokenizer: Any = None,
    target: Any = None,
    *,
    stride: int | None = None,
    decoder: str | Sequence[str] | None = None,
    progress: bool | TextIO = False,
) -> Comparison:
    """Explain the same outputs by several methods, or several outputs.

    A forward pass that several need runs once, and scores are those of each method
    alone.

    Args:
        model: See `explain`.
        inputs_or_text: See `explain`.
        methods: Names of methods; or ``{label: options}`` with the options of
            `explain`, for example ``{"attnlrp": {"method": "lrp", "rules":
            "attnlrp"}}``, where ``"method"`` is the label if it is left out, and
            ``"target"`` is what this label explains. Defaults to ``None``: eight of
            every kind that need some tens of model calls at most.
        tokenizer: See `explain`.
        target: See `explain`. Defaults to ``None``: the arg-max.
        stride: See `explain`. Defaults to ``None``.
        decoder: See `explain`; the scores are those of the encoder's tokens. Defaults
            to ``None``.
        progress: Whether to show a bar on standard error, or where else to show it.

    Returns:
        The comparison. A method that cannot work on this model is listed with the
        reason, and the others go on.

    Raises:
        ArgumentError: If an argument is not as described, or no method works; then the
            message has every reason.
    """
    options = _options(explainers.COMPARED if methods is None else methods)

    def ask(target: Any) -> Question:
        return asked(model, inputs_or_text, tokenizer, target, stride, decoder)

    bar = tqdm(
        total=len(options),
        disable=not progress,
        file=None if isinstance(progress, bool) else progress,
        leave=False,
    )
    with bar, sharing() as passes:
        answers, costs, failures = _answers(ask, options, target, passes, bar)
    explanations: dict[str, Explanation] = {}
    for label in options:
        try:
            if label in answers:
                explanations[label] = _checked(answers[label], explanations)
        except ArgumentError as error:
            failures[label] = str(error)
    failures = {label: failures[label] for label in options if label in failures}
    costs = {label: costs[label] for label in explanations}
    if not explanations:
        reasons = " ".join(f"{label}: {why}" for label, why in failures.items())
        raise ArgumentError(f"none of the methods works on this input. {reasons}")
    return Comparison(explanations, costs, failures, _notes(explanations))


def _notes(explanations: Mapping[str, Explanation]) -> dict[str, str]:
    """Return what explanations say themselves that they are worth."""
    notes: dict[str, str] = {}
    for label, found in explanations.items():
        if isinstance(found, SelfJudging):
            notes[label] = " ".join(found.verdicts)
        elif not found.meta.get("class_specific", True):
            notes[label] = "its scores are of no class"
    return notes


def _answers(
    ask: Callable[[Any], Question],
    options: Mapping[str, Mapping[str, Any]],
    target: Any,
    passes: Passes,
    bar: Any,
) -> tuple[dict[str, Explanation], dict[str, Cost], dict[str, str]]:
    """Explain by each method.

    Returns:
        Explanations and costs by label, and why there is none for the others.
    """
    found: dict[str, Explanation] = {}
    costs: dict[str, Cost] = {}
    failures: dict[str, str] = {}
    each_its_own = all("target" in own for own in options.values())
    common = None if each_its_own else ask(target)
    for labels in _alike(options):
        with keeping_instrumented() if len(labels) > 1 else nullcontext():
            for label in labels:
                chosen = dict(options[label])
                method, other = chosen.pop("method"), chosen.pop("target", target)
                try:
                    own = "target" in options[label]
                    question = ask(other) if own or common is None else common
                    with _costing(question.model, other, passes) as costs[label]:
                        found[label] = answer(question, method, chosen)
                except LrpHooksError as error:
                    failures[label] = str(error)
                bar.update()
    return found, costs, failures


def _alike(options: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Group labels that differ in what they explain alone."""
    groups: dict[Any, list[str]] = {}
    for label, own in options.items():
        plain = (str, int, float, type(None))
        key = frozenset(
            (name, value if isinstance(value, plain) else id(value))
            for name, value in own.items()
            if name != "target"
        )
        groups.setdefault(key, []).append(label)
    return list(groups.values())


def _options(
    methods: Sequence[str] | Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Return the options of each method by its label.

    Returns:
        ``{label: options}``, each with its ``"method"``.

    Raises:
        ArgumentError: If there is none, or one that does not exist.
    """
    named = dict(methods) if isinstance(methods, Mapping) else _by_name(methods)
    if not named or not all(isinstance(own, Mapping) for own in named.values()):
        raise ArgumentError(
            f"methods={methods!r} must be a list of at least one name, such as "
            f"{list(explainers.COMPARED[:3])}, or {{label: options}}."
        )
    options = {label: {"method": label, **chosen} for label, chosen in named.items()}
    for chosen in options.values():
        own = {k: v for k, v in chosen.items() if k not in {"method", "target"}}
        explainers.named(chosen["method"]).check_options(own)
    return options


def _by_name(methods: object) -> dict[str, dict[str, Any]]:
    """Return no options for each name; nothing at all for what is no list of names.

    Raises:
        ArgumentError: If a name comes twice.
    """
    listed = isinstance(methods, Iterable) and not isinstance(methods, str)
    names = list(methods) if listed else []  # type: ignore[call-overload]
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise ArgumentError(
            f"methods names {twice[0]!r} more than once. Leave it out, or tell them "
            "apart by labels: {label: options}, each with its 'method'."
        )
    whole = all(isinstance(name, str) for name in names)
    return {name: {} for name in names} if whole else {}


def _checked(
    explanation: Explanation, others: Mapping[str, Explanation]
) -> Explanation:
    """Refuse scores that cannot stand beside others.

    Returns:
        The explanation.

    Raises:
        ArgumentError: If they are not one number a place, or of other places.
    """
    scores, choice = explanation.scores, explanation.meta.get("task") == Task.CHOICE
    if not isinstance(scores, Tensor) or scores.ndim not in {2, 3, 4} or choice:
        raise ArgumentError(
            "its scores are neither [B, T], [B, H, W] nor [B, F, H, W]; compare() "
            "shows the tokens of one text, the pixels of one image or video, or the "
            "samples of one sound."
        )
    for label, other in list(others.items())[:1]:
        beside = other.scores
        assert isinstance(beside, Tensor)
        kinds = {_places(explanation), _places(other)}
        if kinds != {"tokens"} and (len(kinds) > 1 or scores.shape != beside.shape):
            raise ArgumentError(
                f"its scores are {list(scores.shape)} and those of {label!r} are "
                f"{list(beside.shape)}: compare methods that score "
                f"{min(kinds - {'tokens'})}, or methods that score tokens."
            )
    return explanation


def _places(explanation: Explanation) -> str:
    """Say what has a score: one place has one number from each method."""
    scores = explanation.scores
    assert isinstance(scores, Tensor)
    if scores.ndim > 2:
        return "pixels"
    return next(iter(explanation.meta.get("sounds", {}).values()), "tokens")


@contextmanager
def _costing(model: nn.Module, target: Any, passes: Passes) -> Generator[Cost]:
    """Count what an explanation costs, and share passes unless they might change."""
    # A function may write to what it is given.
    with unshared() if callable(target) else nullcontext(passes) as own:
        with _counted(model, own) as cost:
            yield cost


@contextmanager
def _counted(model: nn.Module, passes: Passes) -> Generator[Cost]:
    """Count calls and CPU seconds.

    Yields:
        The cost, complete at the end.
    """
    cost = passes.cost = Cost()

    def count(module: nn.Module, args: Any, kwargs: Any) -> None:
        tensors = [t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)]
        cost.calls += 1
        cost.sequences += len(tensors[0]) if tensors and tensors[0].ndim else 1

    handle = model.register_forward_pre_hook(count, with_kwargs=True)
    start = time.process_time()
    try:
        yield cost
    finally:
        handle.remove()
        cost.seconds += time.process_time() - start
