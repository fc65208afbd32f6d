"""Several explanations of one prediction, side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import render
from ..errors import ArgumentError
from ..views.comparison import Price, SideBySide
from .agreement import MEASURES, top_k
from .explanation import Explanation
from .explanation_view import view
from .export import labelled_dataframe
from .shown import Drawn, Page, Printed

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Comparison", "Cost"]

_FEW = 4
"""Places from which on a rank correlation is not bound to be near 1, 0 or -1."""


@dataclass
class Cost:
    """What an explanation cost, or would have, had it shared nothing with others.

    Attributes:
        calls: How often the model was called.
        sequences: How many examples it was shown, over all calls.
        seconds: CPU seconds of this process.
    """

    calls: int = 0
    sequences: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Page, Printed, Drawn):
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
        """Compare each method with each, on pixels or tokens.

        Tokens are those that are attended and not special.

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
            ``B`` tensors ``[T]``: attended tokens that are not special, or all pixels.
        """
        scores = self.explanations[method].scores
        assert isinstance(scores, Tensor)
        rows = scores.detach().cpu().double().flatten(1)
        return [rows[b, kept] for b, kept in enumerate(self.kept())]

    def kept(self) -> list[list[int]]:
        """Return the positions that are compared, a list for each example."""
        first = next(iter(self.explanations.values()))
        special = first.meta.get("special")
        widths = [e.scores[0].numel() for e in self.explanations.values()]  # type: ignore[index]
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

    def _few(self) -> dict[str, str]:
        """Say where so few places are compared that their order says little."""
        least = min(map(len, self.kept()), default=_FEW)
        if least >= _FEW or len(self.explanations) < 2:
            return {}
        return {"spearman": f"{least} compared in an example, too few to rank"}

    def view(self, rows: str = "tokens") -> SideBySide:
        """Collect what there is to show.

        Args:
            rows: See `to_html`.

        Returns:
            Plain numbers and strings.
        """
        return SideBySide(
            views={label: view(each) for label, each in self.explanations.items()},
            agreement=self.agreement().tolist(),
            costs={label: Price(**vars(cost)) for label, cost in self.costs.items()},
            notes={**self.notes, **self._few()},
            failures=self.failures,
            rows=rows,
        )

    def to_html(self, rows: str = "tokens") -> str:
        """Render a self-contained page: methods by tokens, agreement, costs.

        Args:
            rows: ``"tokens"``, with a column for each method, or ``"methods"``, each
                with the whole text. Defaults to ``"tokens"``.

        Returns:
            An HTML document; special characters of tokens and labels are escaped.
        """
        return render.page(self.view(rows))

    def to_dataframe(self) -> DataFrame:
        """Write every score of every method as a row of a table.

        Returns:
            A pandas table with the column ``label``, the key of ``explanations``, and
            those of `Explanation.to_dataframe`.
        """
        return labelled_dataframe(self.view().views)

    def __repr__(self) -> str:
        """Return the methods, and which of them failed."""
        failed = f", failures={list(self.failures)}" if self.failures else ""
        return f"Comparison({list(self.explanations)}{failed})"
