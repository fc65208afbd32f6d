"""Which places are taken away at each step, and what is read off the model then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor

import torch
from torch import Tensor

__all__ = ["Protocol", "Reading", "Said"]


@dataclass(frozen=True)
class Said:
    """What a classifier says of whole inputs and of what is left of them.

    Attributes:
        whole: Logits, ``[B, 1, C]``.
        parts: Logits at each step, ``[B, K, C]``.
        target: The class of each example, ``[B]``.
        reading: What logits are: ``"softmax"`` of all classes, ``"sigmoid"`` of each,
            or ``"output"``, a number that is no probability and read as it is.
    """

    whole: Tensor
    parts: Tensor
    target: Tensor
    reading: str = "softmax"

    def logarithms(self, logits: Tensor) -> Tensor:
        """Return the logarithm of the target's probability.

        Args:
            logits: ``[B, K, C]``.

        Returns:
            ``[B, K]``.
        """
        if self.by_sigmoid:
            return torch.nn.functional.logsigmoid(self.own(logits))
        return self.own(logits.log_softmax(-1))

    def own(self, logits: Tensor) -> Tensor:
        """Return what is said of the target.

        Args:
            logits: ``[B, K, C]``.

        Returns:
            ``[B, K]``.
        """
        at = self.target[:, None, None].expand(*logits.shape[:2], 1)
        return logits.gather(2, at)[..., 0]

    @property
    def by_sigmoid(self) -> bool:
        """Whether each logit has a probability of its own."""
        return self.reading == "sigmoid" or self.whole.shape[-1] == 1

    def strength(self, logits: Tensor) -> Tensor:
        """Return the target's probability, or the number that is read in its place.

        Args:
            logits: ``[B, K, C]``.

        Returns:
            ``[B, K]``.
        """
        if self.reading == "output":
            return self.own(logits)
        return self.logarithms(logits).exp()


Reading = Callable[[Said], Tensor]


def probability(said: Said) -> Tensor:
    """Return the target's probability, ``[B, K]``."""
    return said.strength(said.parts)


def lost_probability(said: Said) -> Tensor:
    """Return what the target's probability lost, ``[B, K]``."""
    return said.strength(said.whole) - probability(said)


def log_odds(said: Said) -> Tensor:
    """Return the logarithm of what the probability is multiplied by, ``[B, K]``."""
    return said.logarithms(said.parts) - said.logarithms(said.whole)


def squared_error(said: Said) -> Tensor:
    """Return the squared change of the logits, summed over classes, ``[B, K]``."""
    return ((said.whole - said.parts) ** 2).sum(-1)


def is_right(said: Said) -> Tensor:
    """Return whether the target is the arg-max, or above 1/2 by sigmoid, ``[B, K]``."""
    if said.by_sigmoid:
        return (said.own(said.parts) > 0).double()
    return (said.parts.argmax(-1) == said.target[:, None]).double()


@dataclass(frozen=True)
class Protocol:
    """One way to put scores to the test.

    Attributes:
        reading: What is read off the model at each step.
        percents: How many of each hundred places are taken away or given back.
        order: Which places come first: ``"largest"`` or ``"smallest"`` scores, or the
            ``"faintest"``, those of the smallest absolute value.
        restore: Whether places are given back to an empty input, rather than taken
            from a whole one.
        rounding: From a share of places to their number.
        flips: Whether the published form ranks all positions, padding and special
            tokens among them.
    """

    reading: Reading
    percents: tuple[int, ...]
    order: str = "largest"
    restore: bool = False
    rounding: Callable[[float], int] = ceil
    flips: bool = False

    @property
    def fractions(self) -> Tensor:
        """The share of places at each step, ``[K]``."""
        return torch.tensor(self.percents, dtype=torch.float64) / 100

    def kept(
        self, scores: Tensor, free: Tensor, blank: Tensor, published: bool
    ) -> Tensor:
        """Choose what stays at each step; of equal scores the first place comes first.

        Args:
            scores: ``[B, P]``.
            free: Which places may be taken away, boolean ``[B, P]``.
            blank: Which of them an empty input has as they are, boolean ``[B, P]``.
            published: Whether numbers of places come from shares in floating point.

        Returns:
            Boolean ``[B, K, P]``.
        """
        rank = _ranks(_KEYS[self.order](scores), free)
        counts = torch.tensor([
            [self._count(percent, n, published) for percent in self.percents]
            for n in free.sum(1).tolist()
        ])
        chosen = rank[:, None] < counts[..., None]
        if self.restore:
            return chosen | ~free[:, None] | blank[:, None]
        return ~(chosen & free[:, None])

    def _count(self, percent: int, places: int, published: bool) -> int:
        if published:
            return self.rounding(_NOISY.get(percent, percent / 100) * places)
        whole, rest = divmod(percent * places, 100)
        return whole + (1 if rest and self.rounding is ceil else 0)


# numpy.linspace(0, 1, 11) multiplies: 3 * 0.1 and so on, a bit above the decimal.
_NOISY = {10 * i: i * 0.1 for i in range(11)}

_KEYS: dict[str, Callable[[Tensor], Tensor]] = {
    "largest": torch.neg,
    "smallest": torch.clone,
    "faintest": torch.abs,
}


def _ranks(keys: Tensor, free: Tensor) -> Tensor:
    """Return the rank of each free place by ascending key, ``[B, P]``."""
    open_keys = torch.where(free, keys, torch.inf)
    order = open_keys.argsort(dim=1, stable=True)
    return torch.empty_like(order).scatter_(
        1, order, torch.arange(keys.shape[1]).expand_as(order)
    )


EVERY_TENTH = tuple(range(0, 101, 10))
UP_TO_NINE_TENTHS = EVERY_TENTH[:-1]
ERASER = (1, 5, 10, 20, 50)

PROTOCOLS: dict[str, tuple[Protocol, ...]] = {
    "activation": (Protocol(probability, EVERY_TENTH, restore=True, flips=True),),
    "pruning": (Protocol(squared_error, EVERY_TENTH, "faintest", flips=True),),
    "aopc": (Protocol(lost_probability, UP_TO_NINE_TENTHS, rounding=floor),),
    "accuracy": (Protocol(is_right, UP_TO_NINE_TENTHS, rounding=floor),),
    "log_odds": (Protocol(log_odds, UP_TO_NINE_TENTHS, rounding=floor),),
    "comprehensiveness": (Protocol(lost_probability, ERASER),),
    "sufficiency": (Protocol(lost_probability, ERASER, restore=True),),
    "deletion": (Protocol(probability, EVERY_TENTH, rounding=floor),),
    "insertion": (Protocol(probability, EVERY_TENTH, restore=True),),
    "lerf_morf": (
        Protocol(probability, EVERY_TENTH, "smallest", rounding=floor),
        Protocol(probability, EVERY_TENTH, rounding=floor),
    ),
}
"""The protocols of each metric; of two, the difference counts."""
