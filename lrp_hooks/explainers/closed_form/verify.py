"""Every closed form beside what it is a closed form of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import ArgumentError
from ...support.seeds import check_seed
from ...support.table import aligned
from .classifier import CLASS_TOKEN, UNKNOWN_TOKEN, AttentionClassifier
from .gradients import attention, gradient
from .heads import read, stacked
from .lime import lime_approximation, lime_limit, word_columns
from .references import KERNEL_WIDTH, differentiated, sampled
from .subsets import Subsets, subsets

__all__ = ["MOST_WORDS", "Check", "Verification", "verify_closed_forms"]

MOST_WORDS = 12
"""Distinct words of which all subsets are shown to the model."""
_EXACT = 1e-6


@dataclass(frozen=True)
class Check:
    """One closed form and its reference.

    Attributes:
        closed_form: The call.
        reference: What it is compared with.
        error: The largest difference, relative to the reference's largest value.
        allowed: How large the error may be, beside samples by the noise of so many;
            ``None`` for an approximation.
    """

    closed_form: str
    reference: str
    error: float
    allowed: float | None

    @property
    def holds(self) -> bool:
        """Whether the error is as small as it should be."""
        return self.allowed is None or self.error <= self.allowed


@dataclass(frozen=True, repr=False)
class Verification:
    """The closed forms and their errors; print it, or iterate over its rows.

    Attributes:
        rows: One for each comparison.
    """

    rows: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether every error is as small as it should be."""
        return all(row.holds for row in self.rows)

    def __iter__(self) -> Iterator[Check]:
        """Iterate over the rows.

        Returns:
            An iterator.
        """
        return iter(self.rows)

    def __len__(self) -> int:
        """Count the rows.

        Returns:
            Their number.
        """
        return len(self.rows)

    def __repr__(self) -> str:
        """Return a table: one line a comparison."""
        lines = [
            (r.closed_form, r.reference, f"{r.error:.1e}", *_verdict(r)) for r in self
        ]
        head = ("closed form", "compared with", "error", "allowed", "")
        return "\n".join(aligned([head, *lines]))


def _verdict(row: Check) -> tuple[str, str]:
    if row.allowed is None:
        return "-", "approximation"
    return f"{row.allowed:.0e}", "holds" if row.holds else "FAILS"


@torch.inference_mode(False)  # autograd needs a graph
def verify_closed_forms(
    model: AttentionClassifier | None = None,
    ids: Tensor | None = None,
    *,
    samples: int = 5000,
    seed: int = 0,
) -> Verification:
    """Compare each closed form with autograd or with LIME, in float64.

    Attention and gradients are compared with autograd; the LIME limit with a fit to all
    subsets of the words, and with a fit to sampled ones; the approximation of LIME with
    the limit. The classifier is called for what it is compared with, never for the
    closed forms.

    Args:
        model: The classifier. Defaults to one with random weights.
        ids: One document ``[T]`` of at most 12 words. Defaults to one of 10.
        samples: How many documents LIME samples. Defaults to ``5000``.
        seed: What the samples and the random weights follow from. Defaults to ``0``.

    Returns:
        The table of errors.

    Raises:
        ArgumentError: If only one of model and document is given, or the document has
            more words, or there are too few samples to fit.
    """
    if (model is None) != (ids is None):
        missing = "ids" if ids is None else "model"
        raise ArgumentError(f"{missing} is missing; give model and ids, or neither.")
    generator = torch.Generator().manual_seed(check_seed(seed))
    if model is None or ids is None:
        model, ids = _example(generator)
    read(model, ids)  # refuses what is no classifier or no document of it
    model, ids = _double(model), ids.cpu().long().clone()
    _, d = word_columns(ids)
    if d > MOST_WORDS:
        raise ArgumentError(
            f"ids hold {d} distinct words; at most {MOST_WORDS} are allowed, since "
            "all their subsets are tried. Replace some by the unknown token, "
            f"{UNKNOWN_TOKEN}."
        )
    if not isinstance(samples, int) or samples <= d:
        raise ArgumentError(
            f"samples={samples!r} must be a whole number above that of words, {d}."
        )
    everything = subsets(model, ids)
    fit = sampled(model, ids, samples, generator)
    allowance = everything.allowance(samples, KERNEL_WIDTH)
    return Verification((
        *_against_autograd(model, ids),
        *_against_subsets(model, ids, everything),
        *_around_the_limit(model, ids, fit, samples, allowance),
    ))


def _against_autograd(model: AttentionClassifier, ids: Tensor) -> Iterator[Check]:
    weights, grads, x = differentiated(model, ids)
    for heads, found in (("mean", weights.mean(0)), ("max", weights.amax(0))):
        ours = attention(model, ids, heads)
        yield _check(f"attention(heads={heads!r})", "autograd", ours, found)
    kinds = {
        "mean": grads.mean(-1),
        "l1": grads.abs().sum(-1),
        "l2": grads.square().sum(-1).sqrt(),
        "input": (grads * x).sum(-1),
    }
    for kind, found in kinds.items():
        ours = gradient(model, ids, kind)
        yield _check(f"gradient(kind={kind!r})", "autograd", ours, found)


def _against_subsets(
    model: AttentionClassifier, ids: Tensor, everything: Subsets
) -> Iterator[Check]:
    for width, form in (
        (KERNEL_WIDTH, "lime_limit()"),
        (math.inf, "lime_limit(kernel_width=inf)"),
    ):
        ours = lime_limit(model, ids, kernel_width=width)
        reference = f"LIME, all {len(everything.masks)} subsets"
        yield _check(form, reference, ours, everything.fit(width))


def _around_the_limit(
    model: AttentionClassifier,
    ids: Tensor,
    fit: Tensor,
    samples: int,
    allowance: float,
) -> Iterator[Check]:
    limit = lime_limit(model, ids)
    allowed = max(_EXACT, allowance / _scale(fit))
    yield _check("lime_limit()", f"LIME, {samples} samples", limit, fit, allowed)
    for factor, form in (
        (1.5, "lime_approximation()"),
        (1.0, "lime_approximation(factor=1)"),
    ):
        ours = lime_approximation(model, ids, factor=factor)
        yield _check(form, "lime_limit()", ours, limit, None)


def _check(
    form: str,
    reference: str,
    ours: Tensor,
    theirs: Tensor,
    allowed: float | None = _EXACT,
) -> Check:
    error = float((ours - theirs).abs().max()) / _scale(theirs)
    return Check(form, reference, error, allowed)


def _scale(scores: Tensor) -> float:
    """Return what errors are relative to."""
    return max(float(scores.abs().max()), torch.finfo(scores.dtype).tiny)


def _example(generator: torch.Generator) -> tuple[AttentionClassifier, Tensor]:
    """Return a small classifier with random weights, and a document of 10 words."""
    with torch.random.fork_rng(devices=[]):
        model = AttentionClassifier(12, embed_dim=16, attention_dim=8, max_length=24)
    for name, weight in model.named_parameters():
        scale = 1.0 if "embedding" in name else 0.35
        weight.data.normal_(std=scale, generator=generator)
    ids = torch.full((24,), UNKNOWN_TOKEN)
    ids[0] = CLASS_TOKEN
    ids[1:14] = torch.tensor([2, 3, 4, 5, 3, 6, 7, 8, 9, 3, 10, 4, 11])
    return model, ids


def _double(model: AttentionClassifier) -> AttentionClassifier:
    """Return the classifier in float64 on the CPU, apart from the caller's."""
    size, width = model.embedding.weight.shape
    inner, values = (stacked(model, part).shape[1] for part in ("query", "value"))
    with torch.random.fork_rng(devices=[]):
        twin = AttentionClassifier(
            size, len(model.heads), width, inner, model.max_length, value_dim=values
        ).double()
    for head, own in zip(twin.heads, model.heads, strict=True):
        head.factor = own.factor
    twin.load_state_dict(model.state_dict())
    twin.positions.copy_(model.positions)
    return twin
