"""What DecompX returns: class attributions, and the vectors behind them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ...errors import ArgumentError
from ...results.explanation import Explanation
from ...results.explanation_view import view
from ...results.words import Grouping
from ...support.numbers import is_whole
from ...views.explanation import Sheet

__all__ = ["DecompXExplanation"]


@dataclass(kw_only=True, eq=False, repr=False)
class DecompXExplanation(Explanation):
    """Class attributions of K source tokens: K = T, or T + 1 with ``bias="token"``.

    For ``target="all"``, ``scores`` are ``[B, K, C]`` and ``output`` is ``[B, C]``;
    `of` takes out one class.

    Args:
        biases: Relevance of all biases together before the bias rule shared it, ``[B]``
            (``[B, C]`` for all classes); ``None`` where the decomposition shared them
            as it went.
        layers: ``{stage: Tensor [L, B, T, K]}`` of norms, or ``[L, B, T, K, D]`` of
            vectors, for the stages asked for.
        aggregated: The same after the last layer, ``[B, T, K]`` or ``[B, T, K, D]``.
        pooler: The same before the classifier, ``[B, K]`` or ``[B, K, D]``.
    """

    biases: Tensor | None = None
    layers: dict[str, Tensor] = field(default_factory=dict)
    aggregated: Tensor | None = None
    pooler: Tensor | None = None

    def of(self, target: int | str) -> DecompXExplanation:
        """Take one class out of an explanation of all.

        Args:
            target: The class, or its label where labels are known.

        Returns:
            Its explanation, ``scores`` ``[B, K]``.

        Raises:
            ArgumentError: If this explains one class already, or if there is no such
                class.
        """
        if self.output.ndim != 2:
            raise ArgumentError(
                f"of({target}) takes a class out of an explanation of all, and this "
                f"one explains {self.targets}. Call the explainer with target='all'."
            )
        labels = {name: number for number, name in self.meta.get("labels", {}).items()}
        number = labels.get(target, target)
        if not is_whole(number) or not 0 <= number < self.output.shape[1]:
            known = (
                ", ".join(map(repr, labels)) or "none is known here; explain() tells"
            )
            raise ArgumentError(
                f"of({target!r}) is no class of this explanation; it must be from 0 to "
                f"{self.output.shape[1] - 1}, or a label ({known})."
            )
        assert isinstance(self.scores, Tensor)
        biases = None if self.biases is None else self.biases[:, number]
        return replace(
            self,
            scores=self.scores[..., number],
            output=self.output[:, number],
            target=torch.full((len(self.output),), number),
            biases=biases,
        )

    def view(self) -> Sheet:
        """Collect what there is to show: of all classes, one below the other.

        Returns:
            Plain numbers and strings.
        """
        return Sheet([view(each) for each in self._each()])

    def words(self) -> DecompXExplanation:
        """Merge the scores of sub-word tokens to whole words.

        Returns:
            A new explanation; vectors by token are left out.

        Raises:
            ArgumentError: If this explains all classes.
        """
        if self.output.ndim == 2:
            raise ArgumentError(
                "words() merges the scores of one class; take one out with of(class)."
            )
        return super().words()

    def _each(self) -> list[DecompXExplanation]:
        if self.output.ndim == 1:
            return [self]
        return [self.of(number) for number in range(self.output.shape[1])]

    def _merged(self, grouping: Grouping) -> dict[str, Any]:
        """Return also what goes with words; vectors by token do not."""
        gone: dict[str, Any] = {"layers": {}, "aggregated": None, "pooler": None}
        return {**super()._merged(grouping), **gone}
