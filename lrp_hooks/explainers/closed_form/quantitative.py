"""The paper's large experiments: how far off each formula is, document by document.

LIME needs the classifier's output with words removed, thousands of times. A head's
output is a ratio of two sums over words, each kept or removed, so the outputs of all
samples are two matrix products: exactly those of the classifier.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from ...errors import ArgumentError, NonFiniteError
from ...support.numbers import is_whole
from ...support.seeds import check_seed
from .classifier import AttentionClassifier
from .gradients import gradients
from .heads import Reading, read
from .lime import full_and_blank, kernel, lime_approximation, lime_limit
from .references import KERNEL_WIDTH, differentiated

__all__ = [
    "QuantGradient",
    "QuantLime",
    "lime_runs",
    "masked_logits",
    "quant_gradient",
    "quant_lime",
]


@dataclass(frozen=True, eq=False)
class QuantLime:
    """How far formulas are from LIME, ``[N]`` for ``N`` documents.

    Errors are Euclidean norms over a document's distinct words.

    Args:
        words: The number of distinct words.
        norm: Of LIME's coefficients, the mean of its repetitions.
        noise: Of LIME: the mean distance of a repetition from that mean.
        approximation_error: Of the paper's Equation 19.
        limit_error: Of the exact limit.
    """

    words: Tensor
    norm: Tensor
    noise: Tensor
    approximation_error: Tensor
    limit_error: Tensor


@dataclass(frozen=True, eq=False)
class QuantGradient:
    """How far Theorem 4.1 is from autograd, ``[N]`` for ``N`` documents.

    Args:
        scale: The largest component of the gradient.
        error: The largest difference at any position.
        published_error: That at the class token without what passes through the
            query, as the theorem is published.
    """

    scale: Tensor
    error: Tensor
    published_error: Tensor


def quant_lime(
    model: AttentionClassifier,
    documents: Iterable[Tensor],
    *,
    samples: int = 5000,
    repetitions: int = 5,
    seed: int = 0,
) -> QuantLime:
    """Compare Equation 19 and the exact limit with LIME itself.

    Args:
        model: The classifier.
        documents: Ids ``[T]`` each.
        samples: How many documents LIME samples. Defaults to ``5000``.
        repetitions: How often LIME is run. Defaults to ``5``, as published.
        seed: Of the samples. Defaults to ``0``.

    Returns:
        One error a document.

    Raises:
        ArgumentError: If there are too few samples or repetitions.
    """
    for name, value, least in (
        ("samples", samples, 3),
        ("repetitions", repetitions, 2),
    ):
        if not is_whole(value) or value < least:
            raise ArgumentError(
                f"{name}={value!r} must be a whole number from {least} on."
            )
    generator = torch.Generator().manual_seed(check_seed(seed))
    rows = []
    for ids in documents:
        _, _, columns, d = full_and_blank(model, ids)
        runs = lime_runs(model, ids, samples, repetitions, generator)
        mean = runs.mean(0)
        # Each word's coefficient stands wherever it occurs: once is enough.
        first = torch.stack([(columns == j).nonzero()[0, 0] for j in range(d)])
        forms = lime_approximation(model, ids), lime_limit(model, ids)
        errors = [float((form.double()[first] - mean).norm()) for form in forms]
        noise = float((runs - mean).norm(dim=1).mean())
        rows.append([float(d), float(mean.norm()), noise, *errors])
    return QuantLime(*torch.tensor(rows, dtype=torch.float64).reshape(-1, 5).T)


def quant_gradient(
    model: AttentionClassifier, documents: Iterable[Tensor]
) -> QuantGradient:
    """Compare the gradient's closed form with autograd.

    Args:
        model: The classifier.
        documents: Ids ``[T]`` each.

    Returns:
        One error a document.
    """
    rows = []
    for ids in documents:
        with torch.inference_mode(False):
            _, wanted, _ = differentiated(model, ids)
        wanted = wanted.cpu().double()
        reading = read(model, ids)
        found = gradients(model, reading)
        published = gradients(model, reading, through_query=False)
        gaps = [found - wanted, (published - wanted)[:1]]
        rows.append([float(part.abs().max()) for part in (wanted, *gaps)])
    return QuantGradient(*torch.tensor(rows, dtype=torch.float64).reshape(-1, 3).T)


def lime_runs(
    model: AttentionClassifier,
    ids: Tensor,
    samples: int,
    repetitions: int,
    generator: torch.Generator,
) -> Tensor:
    """Run LIME several times.

    Args:
        model: The classifier.
        ids: One document ``[T]``.
        samples: How many documents LIME samples each time.
        repetitions: ``R``.
        generator: The source of chance.

    Returns:
        The coefficients of the ``d`` distinct words, ``[R, d]``.
    """
    runs = [_lime(model, ids, samples, generator) for _ in range(repetitions)]
    return torch.stack(runs)


def masked_logits(model: AttentionClassifier, ids: Tensor, masks: Tensor) -> Tensor:
    """Return the logit of class 1 with words removed, without calling the classifier.

    Args:
        model: The classifier.
        ids: One document ``[T]``.
        masks: Which of ``d`` distinct words are kept, ``[N, d]``.

    Returns:
        ``[N]`` in float64.

    Raises:
        NonFiniteError: If all that is left attends too weakly beside what is removed
            for its weights to be told from 0.
    """
    full, blank, columns, d = full_and_blank(model, ids)
    members = one_hot(columns, d + 1).double()
    peak = torch.maximum(full.scores.amax(-1), blank.scores.amax(-1))[:, None]
    kept, removed = (_sums(reading, peak, members) for reading in (full, blank))
    shown = pad(masks.double(), (0, 1), value=1.0)  # the last: what is no word
    above, below = (
        shown @ k.T + (1 - shown) @ r.T for k, r in zip(kept, removed, strict=True)
    )
    if bool((below == 0).any()):
        raise NonFiniteError(
            "with some words removed, all that is left has an attention weight of 0 "
            "beside them: scores of query and key differ by more than float64 holds. "
            "Scale the queries down (scale=True), or keep weights smaller."
        )
    return (above / below).mean(1)


def _sums(reading: Reading, peak: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    """Sum numerators and denominators over each word's positions, ``[H, d + 1]``."""
    weights = (reading.scores - peak).exp()
    return (weights * reading.outputs) @ members, weights @ members


def _lime(
    model: AttentionClassifier, ids: Tensor, samples: int, generator: torch.Generator
) -> Tensor:
    """Fit LIME once: the original, then subsets of random size; slopes ``[d]``."""
    d = full_and_blank(model, ids)[3]
    removed = torch.randint(1, d + 1, (samples, 1), generator=generator)
    removed[0] = 0
    ranks = torch.rand(samples, d, generator=generator).argsort(1).argsort(1)
    masks = (ranks >= removed).double()
    root = kernel(masks.mean(1), KERNEL_WIDTH).sqrt()[:, None]
    design = root * pad(masks, (0, 1), value=1.0)
    outputs = root * masked_logits(model, ids, masks)[:, None]
    slopes: Tensor = torch.linalg.lstsq(design, outputs).solution[:-1, 0]
    return slopes
