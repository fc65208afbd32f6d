"""Metrics of faithfulness: how a model's output follows the scores of its input.

Each takes tokens away, or gives them back, in the order of their scores, and reads the
model's output at every step. Scores that name the tokens that matter bend the curve.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ArgumentError
from ..support.suggest import did_you_mean
from .checks import check_scores
from .curve import Curve
from .occlusion import Occlusion
from .protocol import PROTOCOLS, Said

__all__ = [
    "METRICS",
    "OF_PROBABILITIES",
    "Metric",
    "accuracy",
    "activation",
    "aopc",
    "comprehensiveness",
    "curves",
    "deletion",
    "insertion",
    "lerf_morf",
    "log_odds",
    "measure",
    "pruning",
    "sufficiency",
]

_MEANS = {"aopc", "accuracy", "log_odds", "comprehensiveness", "sufficiency"}


class Metric:
    """A curve of what a model says as tokens go or come in the order of their scores.

    With N the attended tokens of an example that may be replaced (of an image, its
    cells), and steps i from 0 on:

    * ``activation``: from an empty input, the ceil(i N / 10) largest scores are given
      back; the target's probability. Its area is AUAC, higher is better (Ali et al.
      2022).
    * ``pruning``: the ceil(i N / 10) smallest absolute scores are taken away; the
      squared change of the logits, summed over classes. Its area is AU-MSE, lower is
      better (Ali et al. 2022).
    * ``aopc``: the floor(i N / 10) largest are taken away, i up to 9; what the target's
      probability lost. Higher is better (Modarressi et al. 2023, Eq. 15).
    * ``accuracy``, ``log_odds``: as ``aopc``; whether the target is still the arg-max
      (a single logit or one of several labels: above 1/2), and log(p / p of the whole
      input). Lower is better.
    * ``comprehensiveness``: the largest 1, 5, 10, 20, 50 % are taken away; what the
      probability lost. Higher is better (DeYoung et al. 2020).
    * ``sufficiency``: only those are kept; what it lost. Lower is better.
    * ``deletion``: the floor(i N / 10) largest are taken away; the probability. Its
      area, lower is better. ``insertion``: as ``activation`` (Petsiuk et al. 2018).
    * ``lerf_morf``: taking the floor(i N / 10) smallest, less taking the largest; the
      probability. Its area, higher is better (Bluecher et al. 2024).

    Of equal scores the first in the text comes first.

    Attributes:
        name: The metric's name.
    """

    def __init__(self, name: str) -> None:
        """Name a metric of the table.

        Args:
            name: One of the names above.
        """
        self.name = name

    def __call__(
        self,
        model: nn.Module,
        batch: Any,
        scores: Tensor,
        target: Any,
        replace_with: Any,
        *,
        special_tokens: str = "keep",
        special_ids: Iterable[int] = (),
        published: bool = False,
    ) -> Curve:
        """Measure one curve an example.

        Args:
            model: A classifier, called without a graph and in eval mode; it may return
                a plain tensor. A single logit counts as one of class 0 by sigmoid.
            batch: Token ids ``[B, T]``, or a mapping of keyword arguments, whose
                ``attention_mask`` tells padding and whose ``special_tokens_mask`` is
                not shown to the model. Also images ``[B, C, H, W]``, vectors
                ``[B, N]`` and embeddings ``[B, T, D]``.
            scores: ``[B, T]``; of images ``[B, H, W]``, or coarser, a score for each
                cell of a grid.
            target: The class of each example, ``[B]``, or one for all; a label at a
                position, a span or a function as for `explain`, whose number is read
                then in place of a probability, as is that of a regression.
            replace_with: The token id that takes a token's place, or ``"delete"`` to
                cut it out; of float inputs, a number or a tensor.
            special_tokens: ``"keep"`` or ``"perturb"``. Defaults to ``"keep"``.
            special_ids: Ids of special tokens, beside ``special_tokens_mask``.
            published: As the original code counts: numbers of tokens are shares in
                floating point, so that .3 of 10 are 4; ``activation`` and ``pruning``
                rank all positions and show the model no attention mask. Defaults to
                ``False``.

        Returns:
            The curve.
        """
        found = measure(
            model,
            batch,
            scores,
            target,
            replace_with,
            (self.name,),
            special_tokens=special_tokens,
            special_ids=special_ids,
            published=published,
        )
        return found[self.name]

    def __repr__(self) -> str:
        """Return the name."""
        return f"faithfulness.{self.name}"


def measure(
    model: nn.Module,
    batch: Any,
    scores: Tensor,
    target: Any,
    replace_with: Any,
    metrics: Sequence[str] | None = None,
    *,
    special_tokens: str = "keep",
    special_ids: Iterable[int] = (),
    published: bool = False,
) -> dict[str, Curve]:
    """Measure several metrics, which share the inputs that they show the model.

    Args:
        model: See `Metric`, as for all but ``metrics``.
        batch: The inputs.
        scores: The scores.
        target: The classes.
        replace_with: What takes a token's place.
        metrics: Names of metrics. Defaults to ``None``: all of them.
        special_tokens: What happens to special tokens.
        special_ids: Their ids.
        published: Whether to count as the original code does.

    Returns:
        ``{name: curve}``.
    """
    names = _known(METRICS if metrics is None else metrics)
    grid = tuple(check_scores(scores).shape[1:])
    special_ids = tuple(special_ids)
    found: dict[str, Curve] = {}
    for flips in (False, True):
        own = [name for name in names if PROTOCOLS[name][0].flips == flips]
        if own:
            occlusion = Occlusion(
                model,
                batch,
                replace_with,
                grid=grid,
                special_tokens=special_tokens,
                special_ids=special_ids,
                published=published and flips,
                target=target,
            )
            found |= curves(occlusion, scores, target, own, published=published)
    return {name: found[name] for name in names}


def curves(
    occlusion: Occlusion,
    scores: Tensor,
    target: Any,
    metrics: Sequence[str],
    *,
    published: bool = False,
) -> dict[str, Curve]:
    """Measure scores of inputs that are shown in parts already.

    What the model said of a part is remembered, so that several methods and metrics
    cost little more than the parts in which they differ.

    Args:
        occlusion: The inputs.
        scores: See `Metric`.
        target: The classes.
        metrics: Names of metrics.
        published: Whether numbers of tokens come from shares in floating point.

    Returns:
        ``{name: curve}``.
    """
    names = _known(metrics)
    scores = check_scores(scores)
    occlusion.check_batch(scores)
    flat = scores.reshape(len(scores), -1)
    chosen = [
        protocol.kept(flat, occlusion.free, occlusion.blank, published)
        for name in names
        for protocol in PROTOCOLS[name]
    ]
    everything = torch.ones(len(flat), 1, flat.shape[1], dtype=torch.bool)
    logits = occlusion.logits(torch.cat([everything, *chosen], 1))
    ends = list(accumulate((kept.shape[1] for kept in chosen), initial=1))[:-1]
    whole, *parts = torch.tensor_split(logits, ends, dim=1)
    classes = occlusion.classes(target, logits.shape[2])
    if occlusion.reading == "output":
        _check_readable(names)
    said = iter([Said(whole, part, classes, occlusion.reading) for part in parts])
    return {name: _curve(name, [next(said) for _ in PROTOCOLS[name]]) for name in names}


def _curve(name: str, said: Sequence[Said]) -> Curve:
    """Read a metric's values; of two protocols, the first less the second."""
    protocols = PROTOCOLS[name]
    first, *rest = [p.reading(s) for p, s in zip(protocols, said, strict=True)]
    summary = "mean" if name in _MEANS else "area"
    return Curve(protocols[0].fractions, first - sum(rest), summary)


def _known(names: Sequence[str]) -> tuple[str, ...]:
    listed = (names,) if isinstance(names, str) else tuple(names)
    for name in listed:
        if name not in PROTOCOLS:
            raise ArgumentError(
                f"metric {name!r} does not exist; the metrics are "
                f"{', '.join(PROTOCOLS)}.{did_you_mean(name, PROTOCOLS)}"
            )
    if not listed:
        raise ArgumentError(f"metrics is empty; choose among {', '.join(PROTOCOLS)}.")
    return listed


def _check_readable(names: Sequence[str]) -> None:
    """Refuse metrics that read a probability where there is none."""
    for name in names:
        if name in OF_PROBABILITIES:
            raise ArgumentError(
                f"metric {name!r} reads a probability, and what is explained is a "
                "number that is none (a regression, or a target of your own). Choose "
                f"among {', '.join(n for n in PROTOCOLS if n not in OF_PROBABILITIES)}"
                ", which read the number itself then."
            )


OF_PROBABILITIES = ("accuracy", "log_odds")

METRICS = tuple(PROTOCOLS)
"""The names of all metrics."""

activation = Metric("activation")
pruning = Metric("pruning")
aopc = Metric("aopc")
accuracy = Metric("accuracy")
log_odds = Metric("log_odds")
comprehensiveness = Metric("comprehensiveness")
sufficiency = Metric("sufficiency")
deletion = Metric("deletion")
insertion = Metric("insertion")
lerf_morf = Metric("lerf_morf")
