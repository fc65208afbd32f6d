"""A model's output as a function of which features of one example are kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..attribution.inputs import Call
from ..attribution.readout import Selected
from ..attribution.spots import Spots
from ..engine.subject import Subject
from ..errors import ArgumentError
from .calls import run, target_of
from .features import Features, keep_rows

__all__ = ["Coalition", "Game"]

Coalition = tuple[bool, ...]
"""Which of the d features are kept."""


@dataclass
class Game:
    """The output for perturbed copies of an example, less the unperturbed one.

    A model is shown each coalition once; the differences keep the digits that Captum's
    float32 would cut off the outputs.

    Attributes:
        subject: The model, in eval mode.
        call: The call of the batch.
        features: What can be kept or not.
        filler: What is put in the place of a feature; ``None``: it is cut out.
        selected: The explained scalars of the unperturbed batch.
        row: The example.
        batch_size: How many copies are shown at a time.
        known: The values so far.
    """

    subject: Subject
    call: Call
    features: Features
    filler: Tensor | None
    selected: Selected
    row: int
    batch_size: int
    known: dict[Coalition, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Count the features, and enter the unperturbed example."""
        self.size = self.features.count(self.row)
        self.known[(True,) * self.size] = 0.0

    def __call__(self, kept: Tensor) -> Tensor:
        """Evaluate coalitions; Captum's forward function.

        Args:
            kept: [N, d], 1 for the features that are kept and 0 for others.

        Returns:
            [N] in float64.
        """
        asked = [tuple(row) for row in kept.bool().tolist()]
        unknown = list(dict.fromkeys(one for one in asked if one not in self.known))
        for batch in self._batches(unknown):
            values = self._run(torch.tensor(batch))
            self.known.update(zip(batch, values.tolist(), strict=True))
        return torch.tensor([self.known[one] for one in asked], dtype=torch.float64)

    @property
    def shown(self) -> int:
        """How many sequences the model was shown, the unperturbed one included."""
        return len(self.known)

    def _batches(self, coalitions: list[Coalition]) -> Iterable[list[Coalition]]:
        """Yield coalitions whose inputs have one length."""
        by_length: dict[int, list[Coalition]] = {}
        for one in coalitions:
            length = sum(one) if self.filler is None else 0
            by_length.setdefault(length, []).append(one)
        for group in by_length.values():
            for start in range(0, len(group), self.batch_size):
                yield group[start : start + self.batch_size]

    def _run(self, kept: Tensor) -> Tensor:
        """Return the values of coalitions, boolean [N, d], of one length."""
        keep = self.features.spread(self.row, kept, rest=True)
        self._check_left(keep)
        model = self.subject.model
        call = keep_rows(model, self.call, self.row, keep, self.filler)
        rows = torch.full((len(kept),), self.row)
        target = target_of(self.selected.target, rows)
        if self.filler is None and isinstance(target, Spots):
            raise ArgumentError(
                "replace_with='delete' moves the tokens behind, so that a target at a "
                "position is another one; replace tokens by an id instead."
            )
        scalar = run(self.subject, call, target).scalar.double()
        return (scalar - self.selected.scalar[self.row].double()).cpu()

    def _check_left(self, keep: Tensor) -> None:
        mask = self.features.attended
        left = keep if mask is None else keep & mask[self.row].cpu()
        if self.filler is None and not bool(left.any(1).all()):
            raise ArgumentError(
                "replace_with='delete' takes every token out, which leaves nothing to "
                f"show to the model for example {self.row}; pass tokenizer=, whose "
                "special tokens stay, or replace tokens by an id."
            )
