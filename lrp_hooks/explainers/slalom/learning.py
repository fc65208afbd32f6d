"""From a text and a model to a surrogate: sample, ask, fit, validate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .gauss_newton import LOOSE, RIDGES, Problem, Solution, fit, ridge_path
from .published import DELETION_SCHEDULE, SHORT_SCHEDULE, fit_als, fit_sgd
from .sampling import Samples
from .surrogate import Surrogate, predict
from .validation import Heldout, cross_validate

__all__ = ["FITS", "Learned", "learn"]

# Whole documents are deletions of none.
KIND_WEIGHTS = {("short",): 1.0, ("whole", "deletion"): 2.0, ("single",): 0.3}
"""Deletions are what most questions are about, tokens alone what the fewest are."""


@dataclass(frozen=True)
class Learned:
    """A surrogate and what it is worth.

    Args:
        surrogate: The surrogate.
        fit: Errors, by the names of ``SlalomExplanation.fit``.
        informative: Whether it beats the constant predictor by more than chance.
        verdict: The same in plain words.
    """

    surrogate: Surrogate
    fit: dict[str, Any]
    informative: bool
    verdict: str


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


def learn(samples: Samples, outputs: Tensor, method: str) -> Learned:
    """Fit a surrogate and measure it.

    Args:
        samples: The perturbations, ``M`` of them.
        outputs: Their log-odds, ``[M]`` in float64.
        method: One of ``FITS``.

    Returns:
        The surrogate; the constant one if no other is better.
    """
    counts = samples.text.counts(samples.sequences)
    fitted = torch.tensor(samples.fitted)
    weights = _weights(samples, outputs)[fitted]
    choice = FITS[method](samples, counts[fitted], outputs[fitted], weights)
    heldout = _predict_heldout(samples, choice, counts, outputs)
    judged = heldout
    known = {k for k, f in zip(samples.kinds, samples.fitted, strict=True) if f}
    if len(known & {"short", "deletion"}) == 1:
        judged = heldout.of_kind(short="short" in known)
    several = len(samples.text.vocabulary) > 1
    informative = several and judged.fidelity.beats_constant
    solution = choice.solution
    if not informative:
        mean = float(heldout.weights @ heldout.outputs)
        solution = _constant(samples, mean if several else float(outputs[0]))
        heldout = replace(heldout, predictions=heldout.constants)
    return Learned(
        surrogate=_surrogate(samples, solution),
        fit={**_errors(heldout), "ridge": choice.ridge},
        informative=informative,
        verdict=_verdict(heldout, informative) if several else _ALONE,
    )


def _constant(samples: Samples, constant: float) -> Solution:
    """Return the surrogate that tells no token from another."""
    zeros = torch.zeros(len(samples.text.vocabulary), dtype=torch.float64)
    return Solution(zeros + constant, zeros)


def _gauss_newton(
    samples: Samples, counts: Tensor, outputs: Tensor, weights: Tensor
) -> Choice:
    """Choose ridge, and whether special tokens weigh, by leave-one-out error."""
    width = counts.shape[1] - bool(not samples.text.special_ids)
    problem = Problem.of(counts[:, :width], outputs, weights)
    found = [(error, ridge, problem, s) for error, ridge, s in ridge_path(problem)]
    if samples.text.special_ids:
        plain = replace(problem, counts=counts[:, :-1])
        ridges = sorted({min(found, key=_error)[1], RIDGES[-1]}, reverse=True)
        found += [(e, ridge, plain, s) for e, ridge, s in ridge_path(plain, ridges)]
    _, ridge, problem, start = min(found, key=_error)
    refit = partial(_refit, ridge=ridge)
    return Choice(problem, fit(problem, ridge, start), refit, ridge)


def _error(found: tuple[float, float, Problem, Solution]) -> float:
    return found[0]


def _refit(problem: Problem, start: Solution, ridge: float) -> Solution:
    return fit(problem, ridge, start, LOOSE)


def _sgd(samples: Samples, counts: Tensor, outputs: Tensor, weights: Tensor) -> Choice:
    """SLALOM-eff, or the authors' rate for deletions."""
    short = samples.of("short") & torch.tensor(samples.fitted)
    schedule = SHORT_SCHEDULE if bool(short.any()) else DELETION_SCHEDULE
    problem = Problem.of(counts[:, :-1], outputs, weights)
    return Choice(
        problem,
        fit_sgd(problem, *schedule),
        lambda fewer, _: fit_sgd(fewer, *schedule),
    )


def _als(samples: Samples, counts: Tensor, outputs: Tensor, weights: Tensor) -> Choice:
    """SLALOM-fidel."""
    problem = Problem.of(counts[:, :-1], outputs, weights)
    full = float(outputs[: len(samples.text.documents)].mean())
    return Choice(
        problem, fit_als(problem, full), lambda fewer, _: fit_als(fewer, full)
    )


FITS: dict[str, Callable[[Samples, Tensor, Tensor, Tensor], Choice]] = {
    "gauss-newton": _gauss_newton,
    "sgd": _sgd,
    "als": _als,
}


def _weights(samples: Samples, outputs: Tensor) -> Tensor:
    """Weigh each kind of samples as one, whatever their number and variance."""
    weights = torch.zeros_like(outputs)
    for kinds, factor in KIND_WEIGHTS.items():
        kept = samples.of(*kinds) & torch.tensor(samples.fitted)
        if bool(kept.any()):
            variance = float(outputs[kept].var(correction=0))
            scale = variance if variance > 0 else 1.0
            weights[kept] = factor / (scale * int(kept.sum()))
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


def _errors(heldout: Heldout) -> dict[str, Any]:
    """Return the errors by name."""
    total = heldout.fidelity
    report: dict[str, Any] = {
        "heldout_error": total.error,
        "constant_error": total.constant_error,
        "r2": total.r2,
    }
    for name, short in (("deletion_error", False), ("short_error", True)):
        part = heldout.of_kind(short=short)
        if len(part.outputs):
            report[name] = part.fidelity.error
    return report


_ALONE = (
    "The text has only one distinct token: its value is the text's own log-odds, and "
    "no surrogate has anything to compare it with."
)


def _verdict(heldout: Heldout, informative: bool) -> str:
    """Say in plain words what the surrogate is worth."""
    total = heldout.fidelity
    if not informative:
        return (
            "No surrogate predicts perturbations of this text better than a constant "
            f"does (its mean squared error is {total.constant_error:.3g}), so there "
            "are no scores to show."
        )
    if total.r2 <= 0:
        return (
            "The surrogate predicts the perturbations that it was fitted to, but over "
            "both deletions and short sequences it is worse than a constant (held-out "
            f"R2 {total.r2:.2f}): its values and importances are not identified."
        )
    return (
        f"The surrogate explains {total.r2:.0%} of the variance of perturbations that "
        "it was not fitted to."
    )
