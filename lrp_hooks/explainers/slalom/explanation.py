"""What SLALOM returns: values, importances, the surrogate itself and its fidelity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import ArgumentError, LrpHooksWarning
from ...results.explanation import Explanation
from ...results.words import Grouping
from .linear import LinearSurrogate
from .surrogate import Surrogate

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from typing_extensions import Self

__all__ = ["SlalomExplanation", "SlalomWarning"]


class SlalomWarning(LrpHooksWarning):
    """Says that a surrogate is not to be relied on, and why."""


@dataclass(kw_only=True, eq=False, repr=False)
class SlalomExplanation(Explanation):
    """Values and importances of tokens, by a surrogate that never looks inside.

    Args:
        values: What each token says: the log-odds of a text of this token alone, if
            special tokens had no weight, ``[B, T]``.
        importances: How much it is listened to beside others, ``[B, T]``; they average
            to 0 over the distinct ordinary tokens of an example. At special tokens
            values and importances are what these share, if they weigh at all, else 0,
            as at padding.
        surrogates: The surrogate of each example.
        fit: ``"heldout_error"`` and ``"constant_error"``, mean squared errors of the
            surrogate and of a constant on perturbations that were not fitted, half of
            them deletions of 1 to 10 tokens, half random triples; ``"deletion_error"``
            and ``"short_error"``, the two halves; ``"r2"``; ``"model_calls"``, the
            sequences that the model was shown; ``"informative"``, whether the
            surrogate beats the constant by more than chance; ``"ridge"``. Plain
            numbers for one example, tensors ``[B]`` for more.
        verdicts: The same in plain words for each example, and which kinds of
            perturbations a linear regression predicts better.
        linear: For each example a linear regression on its ``"deletion"`` and one on
            its ``"short"`` samples, as far as these were fitted.
            ``fit["linear_deletion_error"]`` and ``fit["linear_short_error"]`` are
            their held-out errors.
        vocabulary: Where a function of texts was explained, the word of each id.
        score: Which number stands in ``scores``, by the names of ``Slalom(score=)``. A
            word's is that of its tokens together, see ``words``. Defaults to
            ``"product"``.
        known: Boolean ``[B, T]``: where tokens stand that the surrogate knows, as it
            does not know padding, nor special tokens that weigh nothing. Defaults to
            ``None``: everywhere.
    """

    values: Tensor
    importances: Tensor
    surrogates: list[Surrogate]
    fit: dict[str, Any] = field(default_factory=dict)
    verdicts: list[str] = field(default_factory=list)
    linear: list[dict[str, LinearSurrogate]] = field(default_factory=list)
    vocabulary: list[str] | None = None
    score: str = "product"
    known: Tensor | None = None

    def words(self) -> Self:
        """Merge sub-word tokens to whole words, see ``Explanation.words``.

        The surrogate says what a word of several tokens is: it weighs what they weigh
        together, has their weighted mean value, and its removal takes them all away.
        Products add up.

        Returns:
            A new explanation of words: scores, values and importances ``[B, W]``.
        """
        return super().words()

    def surrogate(
        self, ids: Tensor | Sequence[str], example: int | None = None
    ) -> Tensor:
        """Predict the log-odds of sequences.

        Args:
            ids: ``[N, L]``, sequences as the model takes them, special tokens included.
                Ids that are not in the text, padding for one, weigh nothing. Where a
                function of texts was explained: ``N`` texts, of whose words the same
                holds.
            example: Whose surrogate to use. Defaults to ``None``: the only one, or, of
                several examples, each for its own row of ``ids``.

        Returns:
            ``[N]``.

        Raises:
            ArgumentError: If it is not clear whose surrogate is meant, or texts come
                where ids were explained.
        """
        if not isinstance(ids, Tensor):
            ids = self._read(ids)
        many = len(self.surrogates)
        if example is None and many > 1:
            if len(ids) != many:
                raise ArgumentError(
                    f"ids must have one row for each of the {many} examples, or say "
                    "whose surrogate to use with example=."
                )
            rows = zip(self.surrogates, ids, strict=True)
            found = torch.cat([one(row[None]) for one, row in rows])
        else:
            found = self._of(example or 0)(ids)
        return found.to(self.output)

    def scatter(self, example: int = 0) -> Figure:
        """Draw value against importance, one point for each distinct token.

        Args:
            example: Which example of the batch. Defaults to ``0``.

        Returns:
            A matplotlib figure, registered with no window.
        """
        from .scatter import scatter

        self._of(example)
        names = self._names(example)
        shown = sorted(names)
        return scatter(
            self.values[example, shown].cpu(),
            self.importances[example, shown].cpu(),
            [names[t] for t in shown],
        )

    def to_terminal(self, colour: bool | None = None, width: int | None = None) -> str:
        """Render for a terminal, with what the surrogate is worth.

        Args:
            colour: As ``Explanation.to_terminal`` takes it.
            width: As ``Explanation.to_terminal`` takes it.

        Returns:
            Lines of text, without a newline at the end.
        """
        return "\n".join([super().to_terminal(colour, width), "", *self.verdicts])

    def _read(self, texts: Sequence[str]) -> Tensor:
        """Return the ids of texts' words, 0 for one that is not known, ``[N, L]``.

        Raises:
            ArgumentError: If these are no texts, or what was explained took none.
        """
        known = self.vocabulary
        listed = isinstance(texts, Sequence) and not isinstance(texts, str)
        if (
            known is None
            or not listed
            or not texts
            or not all(isinstance(text, str) for text in texts)
        ):
            wanted = "a list of texts"
            if known is None:
                wanted = "token ids of the shape [N, L], as the model takes them"
            came = f"{type(texts).__name__}, {str(texts)[:60]}"
            raise ArgumentError(f"ids is a {came}; it must be {wanted}.")
        index = {word: i for i, word in enumerate(known)}
        words = [[index.get(word, 0) for word in text.split()] for text in texts]
        rows = [torch.tensor(row, dtype=torch.long) for row in words]
        return torch.nn.utils.rnn.pad_sequence(rows, True)

    def _of(self, example: int) -> Surrogate:
        """Return an example's surrogate.

        Raises:
            ArgumentError: If there is no such example.
        """
        if not 0 <= example < len(self.surrogates):
            raise ArgumentError(
                f"example={example} is none of the {len(self.surrogates)} examples, 0 "
                f"to {len(self.surrogates) - 1}."
            )
        return self.surrogates[example]

    def _names(self, b: int) -> dict[int, str]:
        """Return the ordinary positions of an example and what stands there."""
        special = self.meta.get("special")
        places = list(range(self.values.shape[1]))
        if self.attended is not None:
            places = [t for t in places if bool(self.attended[b, t])]
        if self.tokens is None:
            return {t: str(t) for t in places}
        row = self.tokens[b]
        flags = special[b] if special else [False] * len(row)
        return {t: row[t] for t in places if t < len(row) and not flags[t]}

    def _merged(self, grouping: Grouping) -> dict[str, Any]:
        """Return also values, importances and scores of words, as merged."""
        merged = super()._merged(grouping)
        known = torch.ones_like(self.values) if self.known is None else self.known
        logs = self.importances.double().where(known.bool(), -torch.inf)
        peaks = logs.amax(1, keepdim=True)
        weights = (logs - peaks).exp()
        total = grouping.fold(weights)
        values = grouping.fold(weights * self.values.double()) / total.clamp(min=1e-300)
        importances = torch.where(total > 0, total.log() + peaks, 0.0)
        scores = {
            "value": values,
            "importance": importances,
            "removal": _removal(total, values),
        }.get(self.score, merged["scores"])
        scores = scores.where(self._shown()[:, None], 0.0)
        return {
            **merged,
            "scores": scores.to(merged["scores"]),
            "values": values.to(self.values),
            "importances": importances.to(self.importances),
            "known": total > 0,
        }

    def _shown(self) -> Tensor:
        """Return which examples have scores, boolean ``[B]``."""
        informative = torch.as_tensor(self.fit.get("informative", True))
        alone = torch.tensor([len(one.ids) == 1 for one in self.surrogates])
        return (informative.bool() | alone).to(self.values.device)


def _removal(weights: Tensor, values: Tensor) -> Tensor:
    """Predict what leaving out each word would take away, see ``Surrogate.removal``.

    Args:
        weights: Of words, ``[B, W]``.
        values: Of words, ``[B, W]``.

    Returns:
        ``F(t) - F(t without j) = w_j (v_j - F) / (the weight of all others)``,
        ``[B, W]``; 0 where nothing would be left.
    """
    others = 1 - torch.eye(weights.shape[1]).to(weights)
    rest = weights @ others  # summed, not subtracted: a heavy word leaves little
    output = (weights * values).sum(1, keepdim=True) / weights.sum(1, keepdim=True)
    effect = weights * (values - output) / rest.clamp(min=1e-300)
    return effect.where((weights > 0) & (rest > 0), 0.0)
