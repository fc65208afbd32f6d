"""From a text and a model to a surrogate: sample, ask, fit, validate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .gauss_newton import (
    LOOSE,
    RIDGES,
    Problem,
    Solution,
    fit,
    leave_one_out,
    ridge_path,
)
from .linear import LinearSurrogate, fit_linear
from .published import DELETION_SCHEDULE, SHORT_SCHEDULE, fit_als, fit_sgd
from .recipe import Recipe
from .sampling import Samples
from .surrogate import Surrogate, predict
from .validation import Heldout, cross_validate
from .verdict import errors, verdict

__all__ = ["FITS", "Learned", "learn"]

# Whole documents are deletions of none.
KIND_WEIGHTS = {("short",): 1.0, ("whole", "deletion"): 2.0, ("single",): 0.3}
"""Deletions are what most questions are about, tokens alone what the fewest are."""
FEW = 2.0
"""Samples for each token below which leave-one-out errors are not trusted."""


@dataclass(frozen=True)
class Learned:
    """A surrogate and what it is worth.

    Args:
        surrogate: The surrogate.
        fit: Errors, by the names of ``SlalomExplanation.fit``.
        informative: Whether it beats the constant predictor by more than chance.
        verdict: The same in plain words.
        linear: A linear regression for each kind of perturbations that was fitted.
    """

    surrogate: Surrogate
    fit: dict[str, Any]
    informative: bool
    verdict: str
    linear: dict[str, LinearSurrogate]


@dataclass(frozen=True)
class Choice:
    """A fit, and how to repeat it on fewer samples.

    Args:
        problem: The samples that are fitted.
        solution: What was found.
        refit: Fits another problem, from a start.
        ridge: The strength of the ridge, if there is one.
    """

    problem: Problem
    solution: Solution
    refit: Callable[[Problem, Solution], Solution]
    ridge: float = 0.0


def learn(samples: Samples, outputs: Tensor, recipe: Recipe) -> Learned:
    """Fit a surrogate and measure it.

    Args:
        samples: The perturbations, ``M`` of them.
        outputs: Their log-odds, ``[M]`` in float64.
        recipe: How to fit it.

    Returns:
        The surrogate; the constant one if no other is better.
    """
    counts = samples.text.counts(samples.sequences)
    fitted = torch.tensor(samples.fitted)
    weights = _weights(samples, outputs)[fitted]
    problem = Problem.of(
        counts[fitted], outputs[fitted], weights, recipe.fix_importances
    )
    choice = FITS[recipe.method](samples, problem, recipe)
    heldout = _predict_heldout(samples, choice, counts, outputs)
    lines = fit_linear(samples, counts, outputs, heldout)
    judged = heldout
    known = {k for k, f in zip(samples.kinds, samples.fitted, strict=True) if f}
    if len(known & {"short", "deletion"}) == 1:
        judged = heldout.of_kind(short="short" in known)
    several = len(samples.text.vocabulary) > 1
    informative = several and judged.fidelity.beats_constant
    solution = choice.solution
    if not informative:
        mean = float(judged.weights @ judged.outputs)
        solution = _constant(samples, mean if several else float(outputs[0]))
        heldout = replace(heldout, predictions=heldout.constants)
    return Learned(
        surrogate=_surrogate(samples, solution),
        fit={**errors(heldout, lines), "ridge": choice.ridge},
        informative=informative,
        verdict=verdict(heldout, lines, several, informative),
        linear={name: line.surrogate for name, line in lines.items()},
    )


def _constant(samples: Samples, constant: float) -> Solution:
    """Return the surrogate that tells no token from another."""
    zeros = torch.zeros(len(samples.text.vocabulary), dtype=torch.float64)
    return Solution(zeros + constant, zeros)


def _gauss_newton(samples: Samples, problem: Problem, recipe: Recipe) -> Choice:
    """Choose ridge, and whether special tokens weigh, by leave-one-out error."""
    plain = _without_special(problem)
    if not samples.text.special_ids:
        problem = plain
    found = _candidates(problem, RIDGES)
    if samples.text.special_ids:
        ridges = sorted({min(found, key=_error)[1], RIDGES[-1]}, reverse=True)
        found += _candidates(plain, ridges)
    error, ridge, problem, start = min(found, key=_error)
    refit = _refit(problem, ridge)
    # What a longer descent wins on the samples it may lose elsewhere.
    final = fit(problem, ridge, start)
    gaps = leave_one_out(problem, ridge, final)
    if float(problem.weights @ gaps**2) > error:
        final = start
    return Choice(problem, final, refit, ridge)


def _candidates(
    problem: Problem, ridges: Sequence[float]
) -> list[tuple[float, float, Problem, Solution]]:
    """Fit with every ridge, and say how well others are predicted.

    Leverages close to 1 tell nothing, so few samples are fitted anew without some.

    Returns:
        Error, ridge, problem and solution of each.
    """
    few = _few(problem)
    found = []
    for error, ridge, solution in ridge_path(problem, ridges[: -1 if few else None]):
        judged = error
        if few:
            everything = torch.arange(len(problem.outputs))
            refit = _refit(problem, ridge)
            told = cross_validate(problem, solution, refit, everything)
            judged = float(problem.weights @ (told - problem.outputs) ** 2)
        found.append((judged, ridge, problem, solution))
    return found


def _few(problem: Problem) -> bool:
    """Tell whether samples are too few to determine what is fitted."""
    samples, width = problem.counts.shape
    return samples < FEW * width


def _refit(problem: Problem, ridge: float) -> Callable[[Problem, Solution], Solution]:
    """Return how fewer samples are fitted anew.

    It starts from the fit to all, unless so few determine little: that start would
    tell what was left out.
    """
    cold = _few(problem)
    return lambda fewer, start: fit(fewer, ridge, None if cold else start, LOOSE)


def _without_special(problem: Problem) -> Problem:
    """Return the problem in which special tokens weigh nothing."""
    return replace(problem, counts=problem.counts[:, :-1])


def _error(found: tuple[float, float, Problem, Solution]) -> float:
    return found[0]


def _sgd(samples: Samples, problem: Problem, recipe: Recipe) -> Choice:
    """SLALOM-eff, or the authors' rate for deletions."""
    short = samples.of("short") & torch.tensor(samples.fitted)
    schedule = SHORT_SCHEDULE if bool(short.any()) else DELETION_SCHEDULE
    asked = (recipe.learning_rate, recipe.epochs)
    rate, epochs = (
        own if given is None else given
        for own, given in zip(schedule, asked, strict=True)
    )
    plain = _without_special(problem)
    return Choice(
        plain,
        fit_sgd(plain, rate, int(epochs)),
        lambda fewer, _: fit_sgd(fewer, rate, int(epochs)),
    )


def _als(samples: Samples, problem: Problem, recipe: Recipe) -> Choice:
    """SLALOM-fidel."""
    plain = _without_special(problem)
    full = float(problem.outputs[: len(samples.text.documents)].mean())
    return Choice(plain, fit_als(plain, full), lambda fewer, _: fit_als(fewer, full))


FITS: dict[str, Callable[[Samples, Problem, Recipe], Choice]] = {
    "gauss-newton": _gauss_newton,
    "sgd": _sgd,
    "als": _als,
}


def _weights(samples: Samples, outputs: Tensor) -> Tensor:
    """Weigh each kind of samples as one, whatever their number and variance.

    A kind without variance, such as whole documents where no deletion is fitted, has
    no scale of its own: its samples weigh as much as others do.

    Returns:
        ``[M]``, 0 for what is not fitted.
    """
    weights, fitted = torch.zeros_like(outputs), torch.tensor(samples.fitted)
    for kinds, factor in KIND_WEIGHTS.items():
        kept = samples.of(*kinds) & fitted
        variance = float(outputs[kept].var(correction=0)) if bool(kept.any()) else 0.0
        if variance > 0:
            weights[kept] = factor / (variance * int(kept.sum()))
    positive = weights[weights > 0]
    weights[fitted & (weights == 0)] = float(positive.mean()) if len(positive) else 1.0
    return weights


def _predict_heldout(
    samples: Samples, choice: Choice, counts: Tensor, outputs: Tensor
) -> Heldout:
    """Predict what is held out: by cross-validation where it is fitted as well."""
    heldout, fitted = torch.tensor(samples.heldout), torch.tensor(samples.fitted)
    width = choice.problem.counts.shape[1]
    predictions = predict(counts[:, :width], *choice.solution)
    both = heldout & fitted
    if bool(both.any()):
        places = (fitted.cumsum(0) - 1)[both]
        predictions[both] = cross_validate(
            choice.problem, choice.solution, choice.refit, places
        )
    return Heldout(
        outputs[heldout],
        predictions[heldout],
        samples.of("short")[heldout],
        default=float(outputs[0]),
    )


def _surrogate(samples: Samples, solution: Solution) -> Surrogate:
    """Centre importances and give special tokens what they share."""
    values, text = solution.values, samples.text
    width = len(text.vocabulary)
    importances = solution.importances - solution.importances[:width].mean()
    special = text.special_ids if len(values) > width else []
    ids = torch.tensor([*text.vocabulary, *special])
    columns = torch.tensor([*range(width), *[width] * len(special)])
    order = ids.argsort()
    columns = columns[order]
    return Surrogate(ids[order], values[columns], importances[columns])
