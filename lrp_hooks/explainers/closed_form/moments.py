"""Means of the classifier's output over all subsets of the words, by their number m.

A head's output N(z) / D(z) has a numerator and a denominator that are sums over kept
and removed words, and

    N / D = integral of N exp(-rate D) over rate from 0 to infinity

turns the ratio into a product over words, whose mean over all subsets of one size comes
from a recursion over words.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from .heads import Reading

__all__ = ["summed_moments"]

_STEP = 0.25  # of the quadrature; its error is of the order of exp(-pi^2 / step)
_FIRST, _LAST = -3.6, 3.7  # where its terms fall below rounding
_LEAST = -50.0  # exp(-50) of a sum is lost in rounding, even times many positions
_SATURATED = 10.0  # exp(-exp(10)) is 0 already, and exp(10) is still harmless
_BLOCK = 128  # nodes at a time: bounds memory for long documents


def summed_moments(
    full: Reading, blank: Reading, columns: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Average the output, up to a constant, over subsets, and over those with word j.

    The second is the derivative of sum_m weights_m E[f | m] for a factor on word j
    where it is kept, so one reverse sweep gives those of all words.

    Args:
        full: The document with all words.
        blank: The document with none.
        columns: The index of the word at each position ``[T]``, ``d`` where none is.
        weights: Of each number m of words kept ``[d + 1]``.

    Returns:
        E[f | m] ``[d + 1]``, and sum_m weights_m E[f z_j | m] ``[d]``.
    """
    scores = torch.stack((blank.scores, full.scores), 1)
    # A constant changes no slope; without it, small slopes are not lost in rounding.
    outputs = torch.stack((blank.outputs, full.outputs), 1)
    outputs -= full.logits[:, None, None]
    members = one_hot(columns, len(weights)).double()
    means = torch.zeros_like(weights)
    kept = torch.zeros_like(weights[1:])
    for head in zip(scores, outputs, strict=True):
        for nodes, factors, summands in _terms(*head, members):
            with torch.enable_grad():
                marks = torch.ones_like(kept, requires_grad=True)
                found = nodes @ _subset_means(factors, summands, marks)
                (derivative,) = torch.autograd.grad(found @ weights, marks)
            means += found.detach() / len(scores)
            kept += derivative / len(scores)
    return means, kept


def _terms(
    scores: Tensor, outputs: Tensor, members: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the quadrature of one head, a block of ``Q`` nodes at a time.

    The double exponential rule: rate = exp(t - exp(-t)) in units of the largest
    denominator, a trapezoidal sum over t that goes on until the smallest denominator is
    resolved, too. Rates meet scores as logarithms, so no score overflows.

    Args:
        scores: ``[2, T]`` with words removed, and kept.
        outputs: ``[2, T]``, likewise.
        members: Which position belongs to which word, ``[T, d + 1]``; the last column
            has those that stay.

    Yields:
        Weights of the nodes ``[Q]``; the factors exp(-rate D_j) and the summands
        rate N_j of each word, ``[2, Q, d + 1]``.
    """
    smallest, largest = scores.aminmax(dim=0)
    scale = largest.logsumexp(0)
    last = float(scale - smallest.logsumexp(0)) + _LAST
    t = torch.arange(_FIRST, last, _STEP, dtype=torch.float64)
    log_rates, nodes = t - (-t).exp() - scale, _STEP * (1 + (-t).exp())
    live = _resolves(log_rates, scores)
    for rates, block in zip(
        torch.split(log_rates[live], _BLOCK),
        torch.split(nodes[live], _BLOCK),
        strict=True,
    ):
        exponents = (rates[:, None] + scores[:, None]).clamp(max=_SATURATED).exp()
        factors = (-exponents @ members).exp()
        yield block, factors, (exponents * outputs[:, None]) @ members


def _resolves(log_rates: Tensor, scores: Tensor) -> Tensor:
    """Return at which rates a position's term is neither 0 nor constant, ``[Q]``.

    Between scores that are thousands apart, most rates resolve nothing.
    """
    ordered = scores.flatten().sort().values
    after = torch.searchsorted(ordered, _LEAST - log_rates)
    above = torch.cat((ordered, ordered.new_tensor([torch.inf])))[after]
    return above + log_rates < _SATURATED


def _subset_means(factors: Tensor, summands: Tensor, marks: Tensor) -> Tensor:
    """Return the mean of rate N exp(-rate D) over subsets of m words, ``[Q, d + 1]``.

    The last of k words is one of m kept ones with probability m / k. So go the means of
    exp(-rate D) and, by the product rule, those of rate N exp(-rate D).

    Args:
        factors: As from ``_terms``, ``[2, Q, d + 1]``.
        summands: Likewise.
        marks: A further factor of each word where it is kept, ``[d]``.

    Returns:
        The means, by the number m of words kept.
    """
    means = factors[0, :, -1:]
    numerators = summands[0, :, -1:] * means
    for j, mark in enumerate(marks):
        removed, kept = factors[:, :, j, None]
        less, more = summands[:, :, j, None]
        share = torch.arange(j + 2).to(factors) / (j + 1)
        numerators = _mixed(
            share,
            removed * (numerators + less * means),
            mark * kept * (numerators + more * means),
        )
        means = _mixed(share, removed * means, mark * kept * means)
    return numerators


def _mixed(share: Tensor, removed: Tensor, kept: Tensor) -> Tensor:
    """Join means without and with one more word, which makes one more of m."""
    return share * pad(kept, (1, 0)) + (1 - share) * pad(removed, (0, 1))
