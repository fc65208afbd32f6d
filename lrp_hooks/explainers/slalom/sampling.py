"""Perturbed texts: short sequences of random tokens, and texts with tokens left out.

A sequence is a tuple of positions of the text, so that whatever else belongs to a
position (token types) goes with it. Special tokens stay in every sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice

import torch
from torch import Tensor

from .document import Positions, Text

__all__ = ["SAMPLINGS", "Samples", "Text", "sample"]

SHORT = 3
"""Tokens of a short sequence, as published."""
MOST_DELETIONS = 10
"""Deletions that are predicted, the paper's multi-removal test."""
PUBLISHED_DELETIONS = 5
SHORT_SHARE = 0.45
"""Share of short sequences in a mixture: deletions are the harder half to predict."""
SINGLES = 3
"""Samples for each distinct token from which on each is shown alone as well."""
HELD_OUT = 16
"""Of the published samplings, one in so many of each kind is never fitted."""
PATIENCE = 50
"""Draws in a row that bring nothing new before a text counts as exhausted."""


@dataclass
class Samples:
    """Distinct sequences, the whole documents first.

    Args:
        text: Where they come from.
        sequences: The sequences, ``M``.
        kinds: ``"whole"``, ``"deletion"``, ``"short"`` or ``"single"``, ``M`` of them.
        fitted: Whether the surrogate is fitted to it.
        heldout: Whether it measures the surrogate, while it is left out of the fit.
    """

    text: Text
    sequences: list[Positions] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    fitted: list[bool] = field(default_factory=list)
    heldout: list[bool] = field(default_factory=list)
    _seen: set[Positions] = field(default_factory=set)

    def of(self, *kinds: str) -> Tensor:
        """Return which samples are of some kinds, boolean ``[M]``."""
        return torch.tensor([kind in kinds for kind in self.kinds])

    def draw(
        self,
        source: Iterator[Positions],
        n: int,
        kind: str,
        *,
        fitted: bool = True,
        heldout: bool = False,
    ) -> int:
        """Take ``n`` new sequences, or fewer where there are no more.

        Args:
            source: Sequences; those whose tokens the model has seen are passed over.
            n: How many to take.
            kind: See the class.
            fitted: See the class.
            heldout: See the class.

        Returns:
            How many were taken.
        """
        taken = misses = 0
        while taken < n and misses < PATIENCE:
            sequence = next(source, None)
            if sequence is None:
                break
            key = tuple(self.text.ids[p] for p in sequence)
            misses += 1
            if key not in self._seen:
                self._seen.add(key)
                self.sequences.append(sequence)
                self.kinds.append(kind)
                self.fitted.append(fitted)
                self.heldout.append(heldout)
                taken, misses = taken + 1, 0
        return taken


def sample(
    text: Text,
    sampling: str,
    n: int,
    generator: torch.Generator,
    published: bool = True,
) -> Samples:
    """Draw distinct perturbations.

    Args:
        text: What to perturb.
        sampling: One of ``SAMPLINGS``.
        n: The most sequences to draw.
        generator: The source of randomness.
        published: Of ``"short"`` and ``"deletion"``: whether they are drawn as
            published, none to five tokens left out, and held out apart. Else
            deletions are those that are predicted, and what is fitted is held out by
            cross-validation. Defaults to ``True``.

    Returns:
        The samples; besides at most ``n`` drawn ones, the whole documents.
    """
    samples = Samples(text)
    whole = (tuple(document) for document in text.documents)
    samples.draw(whole, len(text.documents), "whole")
    if published:
        SAMPLINGS[sampling](samples, n, generator)
    else:
        _CROSS_VALIDATED[sampling](samples, n, generator)
    return samples


def _mixed(samples: Samples, n: int, generator: torch.Generator) -> None:
    """Draw short sequences and deletions in which all tokens get an equal share.

    Where the number allows it each token is shown alone, too, which tells its value.
    """
    text = samples.text
    size = len(text.vocabulary)
    if n >= SINGLES * size:
        n -= samples.draw((text.wrap([t]) for t in range(size)), size, "single")
    wanted = max(1, round(n * SHORT_SHARE))
    short = _short(text, _balanced(size, wanted * SHORT, generator))
    deleted = _deletions(text, 1, MOST_DELETIONS, generator)
    n -= samples.draw(short, wanted, "short", heldout=True)
    n -= samples.draw(deleted, n, "deletion", heldout=True)
    samples.draw(short, n, "short", heldout=True)


def _only_short(samples: Samples, n: int, generator: torch.Generator) -> None:
    """Draw as SLALOM-eff does: every token of three at random."""
    short = _short(samples.text, _uniform(len(samples.text.vocabulary), generator))
    rest = _hold_out(samples, n, short, generator)
    samples.draw(short, rest, "short")


def _only_deletions(samples: Samples, n: int, generator: torch.Generator) -> None:
    """Draw as SLALOM-fidel does: none to five tokens left out."""
    text = samples.text
    short = _short(text, _uniform(len(text.vocabulary), generator))
    rest = _hold_out(samples, n, short, generator)
    deleted = _deletions(text, 0, PUBLISHED_DELETIONS, generator)
    samples.draw(deleted, rest, "deletion")


SAMPLINGS: dict[str, Callable[[Samples, int, torch.Generator], None]] = {
    "mixed": _mixed,
    "short": _only_short,
    "deletion": _only_deletions,
}


def _one_kind(kind: str, samples: Samples, n: int, generator: torch.Generator) -> None:
    """Draw one kind to be fitted, and a few of the other to see what that is worth."""
    text = samples.text
    sources = {
        "short": _short(text, _uniform(len(text.vocabulary), generator)),
        "deletion": _deletions(text, 1, MOST_DELETIONS, generator),
    }
    other = "deletion" if kind == "short" else "short"
    few = min(max(1, n // HELD_OUT), n - 1)
    n -= samples.draw(sources[other], few, other, fitted=False, heldout=True)
    samples.draw(sources[kind], n, kind, heldout=True)


_CROSS_VALIDATED: dict[str, Callable[[Samples, int, torch.Generator], None]] = {
    "mixed": _mixed,
    "short": partial(_one_kind, "short"),
    "deletion": partial(_one_kind, "deletion"),
}


def _hold_out(
    samples: Samples, n: int, short: Iterator[Positions], generator: torch.Generator
) -> int:
    """Draw what is never fitted, both kinds; return how many may still be drawn."""
    share = max(1, n // HELD_OUT)
    deleted = _deletions(samples.text, 1, MOST_DELETIONS, generator)
    for kind, source in (("short", short), ("deletion", deleted)):
        number = min(share, n - 1)
        n -= samples.draw(source, number, kind, fitted=False, heldout=True)
    return n


def _short(text: Text, draws: Iterator[int]) -> Iterator[Positions]:
    """Yield sequences of three tokens."""
    while True:
        yield text.wrap(list(islice(draws, SHORT)))


def _deletions(
    text: Text, least: int, most: int, generator: torch.Generator
) -> Iterator[Positions]:
    """Yield documents in turn, each without ``least`` to ``most`` of its tokens."""
    parts = [
        (document, places, _cycle(len(places), generator))
        for document in text.documents
        if len(places := text.ordinary(document)) > 1
    ]
    for document, places, queue in cycle(parts):
        limit = min(most, len(places) - 1)
        number = int(torch.randint(least, limit + 1, (), generator=generator))
        gone = {places[i] for i in islice(queue, number)}
        yield tuple(p for p in document if p not in gone)


def _uniform(n: int, generator: torch.Generator) -> Iterator[int]:
    """Yield independent numbers below ``n``."""
    while True:
        yield from torch.randint(n, (1024,), generator=generator).tolist()


def _cycle(n: int, generator: torch.Generator) -> Iterator[int]:
    """Yield all numbers below ``n`` in random order, again and again."""
    while True:
        yield from torch.randperm(n, generator=generator).tolist()


def _balanced(n: int, size: int, generator: torch.Generator) -> Iterator[int]:
    """Yield numbers below ``n``: equally often in every ``size``, yet well mixed."""
    while True:
        bag = torch.tensor(list(islice(_cycle(n, generator), size)))
        yield from bag[torch.randperm(size, generator=generator)].tolist()
