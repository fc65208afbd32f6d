"""Several explanations of one prediction, side by side."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TextIO, runtime_checkable

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .. import explainers
from ..errors import ArgumentError, LrpHooksError
from ..results.agreement import MEASURES, top_k
from ..results.explanation import Explanation
from .explain import explain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Comparison", "Cost", "compare"]

METHODS = (
    "lrp",
    "gradient_x_input",
    "integrated_gradients",
    "decompx",
    "attention_last",
    "attention_rollout",
    "generic_attention",
    "leave_one_out",
)
"""Methods of every kind that need no more than some tens of model calls."""


@runtime_checkable
class SelfJudging(Protocol):
    """An explanation that says in plain words what it is worth.

    Attributes:
        verdicts: One sentence for each example.
    """

    verdicts: list[str]


@dataclass
class Cost:
    """What an explanation cost.

    Attributes:
        calls: How often the model was called.
        sequences: How many examples it was shown, over all calls.
        seconds: CPU seconds of this process.
    """

    calls: int = 0
    sequences: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Explanations of the same outputs by several methods.

    Attributes:
        explanations: ``{method: Explanation}`` in the order asked for.
        costs: ``{method: Cost}``.
        failures: ``{method: message}`` of the methods that cannot work on this model.
        notes: ``{method: message}`` of those that say themselves what they are worth.
    """

    explanations: dict[str, Explanation]
    costs: dict[str, Cost]
    failures: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def tokens(self) -> list[list[str]] | None:
        """``B`` lists of tokens, if known."""
        return next(iter(self.explanations.values())).tokens

    def agreement(self, measure: str = "spearman", k: int = 5) -> Tensor:
        """Compare each method with each, on attended tokens that are not special.

        Args:
            measure: ``"spearman"`` or ``"kendall"`` (rank correlation), ``"sign"``
                (share of tokens on the same side of zero) or ``"top_k"`` (share of the
                k highest scores in common).
            k: For ``"top_k"``.

        Returns:
            ``[M, M]``, the mean over the examples that have a value, in the order of
            ``explanations``. An example has none for a method that gives all of its
            tokens the same score, nor if it has a single token; NaN where none has.

        Raises:
            ArgumentError: If there is no such measure, or ``k`` is no number of tokens.
        """
        if measure not in MEASURES:
            raise ArgumentError(
                f"measure={measure!r} is no measure of agreement; it must be one of "
                f"{', '.join(map(repr, MEASURES))}."
            )
        if not (isinstance(k, int) and k > 0):
            raise ArgumentError(f"k={k!r} must be a whole number of tokens from 1 on.")
        compare_two = partial(top_k, k=k) if measure == "top_k" else MEASURES[measure]
        rows = [self.rows(method) for method in self.explanations]
        table = [
            [list(map(compare_two, mine, theirs)) for theirs in rows] for mine in rows
        ]
        return torch.tensor(table, dtype=torch.float64).nanmean(-1)

    def rows(self, method: str) -> list[Tensor]:
        """Return a method's scores of the tokens that are compared.

        Args:
            method: A key of ``explanations``.

        Returns:
            ``B`` tensors ``[T]``: attended tokens that are not special.
        """
        found = self.explanations[method]
        assert isinstance(found.scores, Tensor)
        return [
            found.scores[b, kept].detach().cpu().double()
            for b, kept in enumerate(self.kept())
        ]

    def kept(self) -> list[list[int]]:
        """Return the positions that are compared, a list for each example."""
        first = next(iter(self.explanations.values()))
        special = first.meta.get("special")
        widths = [e.scores.shape[1] for e in self.explanations.values()]  # type: ignore[union-attr]
        open_to = [list(range(min(widths)))] * len(first.output)
        if first.attended is not None:
            open_to = [row.nonzero().flatten().tolist() for row in first.attended]
        if first.tokens is not None:
            lengths = map(len, first.tokens)
            open_to = [
                [t for t in row if t < n]
                for row, n in zip(open_to, lengths, strict=True)
            ]
        plain = [
            [t for t in row if not (special and t < len(special[b]) and special[b][t])]
            for b, row in enumerate(open_to)
        ]
        return [row or list(every) for row, every in zip(plain, open_to, strict=True)]

    def to_html(self, rows: str = "tokens") -> str:
        """Render a self-contained page: methods by tokens, agreement, costs.

        Args:
            rows: ``"tokens"``, with a column for each method, or ``"methods"``, each
                with the whole text. Defaults to ``"tokens"``.

        Returns:
            An HTML document; special characters of tokens and labels are escaped.
        """
        from ..render import comparison

        return comparison.page(self, rows)

    def plot(self) -> Figure:
        """Draw each method's scores as a heat map of the text.

        Returns:
            A matplotlib figure, registered with no window.
        """
        from ..render import plot

        return plot.figure(list(self.explanations.values()))

    def _repr_html_(self) -> str:  # noqa: PLW3201 (the name that notebooks look for)
        """Return a fragment for a notebook."""
        from ..render import comparison

        return comparison.fragment(self)

    def to_terminal(self, colour: bool | None = None, width: int | None = None) -> str:
        """Render for a terminal.

        Args:
            colour: True for a coloured heat map, false for numbers. Defaults to
                ``None``: coloured on a terminal.
            width: Columns. Defaults to the terminal's own.

        Returns:
            Lines of text, without a newline at the end.
        """
        from ..render import comparison

        return comparison.terminal(self, colour=colour, width=width)

    def __repr__(self) -> str:
        """Return the methods, and which of them failed."""
        failed = f", failures={list(self.failures)}" if self.failures else ""
        return f"Comparison({list(self.explanations)}{failed})"


def compare(
    model: nn.Module,
    inputs_or_text: Any,
    methods: Sequence[str] | Mapping[str, Mapping[str, Any]] | None = None,
    tokenizer: Any = None,
    target: Any = None,
    *,
    progress: bool | TextIO = False,
) -> Comparison:
    """Explain the same outputs by several methods, or several outputs.

    Args:
        model: Any module; it is left as it was.
        inputs_or_text: See `explain`.
        methods: Names of methods; or ``{label: options}`` with the options of
            `explain`, for example ``{"attnlrp": {"method": "lrp", "rules":
            "attnlrp"}}``, where ``"method"`` is the label if it is left out, and
            ``"target"`` is what this label explains. Defaults to ``None``: eight of
            every kind that need some tens of model calls at most.
        tokenizer: See `explain`.
        target: See `explain`. Defaults to ``None``: the arg-max.
        progress: Whether to show a bar on standard error, or where else to show it.

    Returns:
        The comparison. A method that cannot work on this model is listed with the
        reason, and the others go on.

    Raises:
        ArgumentError: If an argument is not as described, or no method works; then the
            message has every reason.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"model is a {type(model).__name__}; it must be a torch.nn.Module."
        )
    options = _options(METHODS if methods is None else methods)
    explanations: dict[str, Explanation] = {}
    costs: dict[str, Cost] = {}
    failures: dict[str, str] = {}
    bar = tqdm(
        options.items(),
        disable=not progress,
        file=None if isinstance(progress, bool) else progress,
        leave=False,
    )
    for label, chosen in bar:
        try:
            with _counted(model) as cost:
                explanations[label] = _checked(
                    explain(
                        model,
                        inputs_or_text,
                        tokenizer=tokenizer,
                        **{"target": target, **chosen},
                    )
                )
            costs[label] = cost
        except LrpHooksError as error:
            failures[label] = str(error)
    if not explanations:
        reasons = " ".join(f"{label}: {why}" for label, why in failures.items())
        raise ArgumentError(f"none of the methods works on this input. {reasons}")
    notes = {
        label: " ".join(found.verdicts)
        for label, found in explanations.items()
        if isinstance(found, SelfJudging)
    }
    return Comparison(explanations, costs, failures, notes)


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
            f"{list(METHODS[:3])}, or {{label: options}}."
        )
    options = {label: {"method": label, **chosen} for label, chosen in named.items()}
    for chosen in options.values():
        own = {k: v for k, v in chosen.items() if k not in {"method", "target"}}
        explainers.named(chosen["method"]).check_options(own)
    return options


def _by_name(methods: object) -> dict[str, dict[str, Any]]:
    """Return no options for each name; nothing at all for what is no list of names."""
    listed = isinstance(methods, Iterable) and not isinstance(methods, str)
    names = list(methods) if listed else []  # type: ignore[call-overload]
    whole = all(isinstance(name, str) for name in names)
    return {name: {} for name in names} if whole else {}


def _checked(explanation: Explanation) -> Explanation:
    """Refuse scores that cannot stand beside others.

    Returns:
        The explanation.

    Raises:
        ArgumentError: If they are not one number a token.
    """
    if not isinstance(explanation.scores, Tensor) or explanation.scores.ndim != 2:
        raise ArgumentError("its scores are not [B, T]; compare() shows tokens.")
    return explanation


@contextmanager
def _counted(model: nn.Module) -> Generator[Cost]:
    """Count calls and CPU seconds.

    Yields:
        The cost, complete at the end.
    """
    cost = Cost()

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
        cost.seconds = time.process_time() - start
