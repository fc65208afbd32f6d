"""Metrics of faithfulness written out: one model call for each perturbed input.

Each metric is a loop over its steps, with numbers of places as exact fractions, for one
example whose logits come from ``show``: a function of the set of places that stay.
"""

import math
from fractions import Fraction
from functools import cache

import torch

TENTHS = [Fraction(i, 10) for i in range(11)]
ERASER = [Fraction(i, 100) for i in (1, 5, 10, 20, 50)]


def probability(logits, target, sigmoid):
    if sigmoid:
        return 1 / (1 + math.exp(-logits[target]))
    top = max(logits)
    return math.exp(logits[target] - top) / sum(math.exp(x - top) for x in logits)


class Example:
    """One example: its scores, the places that may go, and what the model says.

    ``stay`` are the places that hold in an empty input, beside those that are not free.
    """

    def __init__(self, show, scores, free, target, sigmoid=False, stay=()):
        self.scores, self.free = scores, list(free)
        said = cache(show)
        self.show = lambda kept: said(frozenset(kept))
        self.everything = set(range(len(scores)))
        self.fixed = (self.everything - set(self.free)) | set(stay)
        self.target, self.sigmoid = target, sigmoid
        self.first = sorted(self.free, key=lambda i: -scores[i])
        self.last = sorted(self.free, key=lambda i: scores[i])
        self.faint = sorted(self.free, key=lambda i: abs(scores[i]))

    def without(self, order, count):
        return self.show(self.everything - set(order[:count]))

    def only(self, order, count):
        return self.show(self.fixed | set(order[:count]))

    def p(self, logits):
        return probability(logits, self.target, self.sigmoid)

    def up(self, share):
        return math.ceil(share * len(self.free))

    def down(self, share):
        return math.floor(share * len(self.free))

    def activation(self):
        return [self.p(self.only(self.first, self.up(s))) for s in TENTHS]

    def pruning(self):
        whole = self.show(self.everything)
        parts = [self.without(self.faint, self.up(s)) for s in TENTHS]
        return [sum((a - b) ** 2 for a, b in zip(whole, x, strict=True)) for x in parts]

    def aopc(self):
        whole = self.p(self.show(self.everything))
        steps = TENTHS[:10]
        return [whole - self.p(self.without(self.first, self.down(s))) for s in steps]

    def log_odds(self):
        whole = self.p(self.show(self.everything))
        parts = [self.p(self.without(self.first, self.down(s))) for s in TENTHS[:10]]
        return [math.log(part / whole) for part in parts]

    def accuracy(self):
        parts = [self.without(self.first, self.down(s)) for s in TENTHS[:10]]
        if self.sigmoid:
            return [float(part[self.target] > 0) for part in parts]
        return [float(part.index(max(part)) == self.target) for part in parts]

    def comprehensiveness(self):
        whole = self.p(self.show(self.everything))
        return [whole - self.p(self.without(self.first, self.up(s))) for s in ERASER]

    def sufficiency(self):
        whole = self.p(self.show(self.everything))
        return [whole - self.p(self.only(self.first, self.up(s))) for s in ERASER]

    def deletion(self):
        return [self.p(self.without(self.first, self.down(s))) for s in TENTHS]

    def insertion(self):
        return self.activation()

    def lerf_morf(self):
        return [
            self.p(self.without(self.last, self.down(s)))
            - self.p(self.without(self.first, self.down(s)))
            for s in TENTHS
        ]


METRICS = (
    "activation",
    "pruning",
    "aopc",
    "accuracy",
    "log_odds",
    "comprehensiveness",
    "sufficiency",
    "deletion",
    "insertion",
    "lerf_morf",
)


def curves(examples, names=METRICS):
    """Return ``{metric: [B, K]}``."""
    return {
        name: torch.tensor([getattr(x, name)() for x in examples], dtype=torch.float64)
        for name in names
    }


def replaced(read, row, main, filler):
    """Show one row with an id, or numbers, in the place of what does not stay."""

    def show(kept):
        value = row[main].clone()
        for place in range(value.shape[1]):
            if place not in kept:
                value[0, place] = filler
        return read({**row, main: value})

    return show


def cut(read, row, main, attended):
    """Show one row with its padding, and what does not stay, cut out."""

    def show(kept):
        left = [i for i in attended if i in kept]
        return read({name: value[:, left] for name, value in row.items()})

    return show


def painted(read, image, cells, filler):
    """Show one image whose other cells are filled with a number."""
    height, width = (size // n for size, n in zip(image.shape[2:], cells, strict=True))

    def show(kept):
        value = image.clone()
        for place in range(cells[0] * cells[1]):
            top, left = place // cells[1] * height, place % cells[1] * width
            if place not in kept:
                value[0, :, top : top + height, left : left + width] = filler
        return read(value)

    return show
