"""Explanations by plain gradients at the input embeddings, with Captum.

On an instrumented model they are relevance gradients, as those of every other tool.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import captum.attr
import torch
from torch import Tensor, nn

from ..attribution.finite import check_relevance
from ..attribution.inputs import Call
from ..attribution.passes import prepared
from ..attribution.places import laid_out, seen_axes
from ..attribution.readable import is_plain
from ..attribution.rows import most_rows
from ..engine.subject import Subject
from ..results.explanation import Explanation
from .base import Explainer, check_option
from .baselines import start_values
from .calls import check_number, seeded
from .convergence import warn_of_divergence
from .points import Group, Points

__all__ = ["IntegratedGradients", "Saliency", "SmoothGrad"]

NORMS = ("l2", "l1", "sum")
_Values = tuple[Tensor, ...]


class _Gradients(Explainer):
    """Base of the methods that take gradients where ``LRP`` reads relevance."""

    method: str

    def __init__(
        self, model: nn.Module, wrt: str | Sequence[str] | None, norm: str
    ) -> None:
        super().__init__(model)
        check_option(self, "norm", norm, NORMS)
        self.wrt, self.norm = wrt, norm

    @abstractmethod
    def attribute(self, points: Points) -> tuple[list[Tensor], dict[str, Any]]:
        """Attribute the outputs of a batch.

        Args:
            points: The explained scalars as a function of what was read.

        Returns:
            Values in the shape of ``points.values``, and extras for ``meta``.
        """

    def __call__(self, inputs: Any, target: Any = None) -> Explanation:
        """Explain one output of each example.

        Args:
            inputs: A tensor, a tuple of tensors or a mapping of keyword arguments.
            target: As ``Instrumentation.attribute`` takes it.

        Returns:
            The explanation, 0 at padding. ``meta["model_calls"]`` counts the sequences
            that the model was shown, ``meta["read"]`` says where gradients were taken.
        """
        subject = Subject(self.model)
        with prepared(subject, inputs) as call:
            points = Points(subject, call, self.wrt, target)
            values, extras = self.attribute(points)
        named = dict(zip(points.names, values, strict=True))
        check_relevance(subject, named)
        output = points.selected.scalar.detach()
        scores = {
            name: self._reduced(name, v, call).to(output.device)
            for name, v in named.items()
        }
        return Explanation(
            scores=next(iter(scores.values())) if len(scores) == 1 else scores,
            output=output,
            target=points.selected.target,
            method=self.method,
            attended=points.attended,
            meta={
                "model": type(self.model).__name__,
                "read": list(named),
                "model_calls": points.shown,
                **extras,
            },
        )

    def _reduced(self, name: str, values: Tensor, call: Call) -> Tensor:
        """Reduce embeddings [B, T, D], channels, and all else that nobody looks at."""
        given = call.tensors.get(name)
        if given is not None and is_plain(given):
            axes = seen_axes(name, values.shape, self.model)
        else:
            last = {3: 2, 4: 3 if call.has_choices else 1}.get(values.ndim)
            axes = tuple(axis for axis in range(values.ndim) if axis != last)
        left = [axis for axis in range(values.ndim) if axis not in axes]
        if self.norm == "sum":
            return laid_out(values.sum(left) if left else values, axes)
        if not left:
            return laid_out(values.abs(), axes)
        order = 1 if self.norm == "l1" else 2
        reduced: Tensor = torch.linalg.vector_norm(values, order, dim=left)
        return laid_out(reduced, axes)


class Saliency(_Gradients):
    """The size of the gradient: what a small change of a token would do at most.

    Simonyan et al. 2013, https://arxiv.org/abs/1312.6034.
    """

    method = "saliency"

    def __init__(
        self,
        model: nn.Module,
        *,
        norm: str = "l2",
        wrt: str | Sequence[str] | None = None,
    ) -> None:
        """Remember the model and how to reduce gradients to scores.

        Args:
            model: Any module; it is left as it was.
            norm: How the embedding's dimensions, or the channels of an image, become
                one number: ``"l2"``, ``"l1"`` or ``"sum"``, which alone has a sign.
                Elements of vectors show their own gradient, without sign but for
                ``"sum"``. Defaults to ``"l2"``: the largest change per unit of
                distance, whatever basis the embedding is written in.
            wrt: Where gradients are taken: a module name or several. Defaults to the
                input embeddings, or the input itself where it is no token ids.
        """
        super().__init__(model, wrt, norm)

    def attribute(self, points: Points) -> tuple[list[Tensor], dict[str, Any]]:
        """Take the gradients of a batch.

        Args:
            points: The explained scalars as a function of what was read.

        Returns:
            The gradients, with their signs, and no extras.
        """
        method = captum.attr.Saliency(points.scalar)

        def run(at: _Values, group: Group) -> Any:
            return method.attribute(at, abs=False, additional_forward_args=group)

        return points.map(run), {}


class SmoothGrad(_Gradients):
    """The size of the mean gradient around the input.

    Smilkov et al. 2017, https://arxiv.org/abs/1706.03825. Gradients are averaged with
    their signs, as there, and then reduced. Noise is drawn on the CPU, so that one seed
    has one answer on every device, and for each example alone, whatever the batch.
    """

    method = "smooth_grad"

    def __init__(
        self,
        model: nn.Module,
        *,
        n_samples: int = 50,
        stdev: float = 0.15,
        seed: int = 0,
        norm: str = "l2",
        wrt: str | Sequence[str] | None = None,
        batch_size: int = 32,
    ) -> None:
        """Remember the model, the noise, and how to reduce gradients to scores.

        Args:
            model: Any module; it is left as it was.
            n_samples: How many noisy copies the gradient is averaged over. Defaults to
                ``50``, the paper's.
            stdev: Standard deviation of the noise, as a share of the range of what is
                read: its largest less its smallest element in the example. Defaults to
                ``0.15``; the paper takes .1 to .2.
            seed: One seed, one answer. Defaults to ``0``.
            norm: As for ``Saliency``. Defaults to ``"l2"``.
            wrt: As for ``Saliency``.
            batch_size: How many copies are run at a time. Defaults to ``32``.
        """
        super().__init__(model, wrt, norm)
        check_number("n_samples", n_samples, least=1, whole=True)
        check_number("stdev", stdev, least=0, whole=False)
        check_number("seed", seed, least=None, whole=True)
        check_number("batch_size", batch_size, least=1, whole=True)
        self.n_samples, self.stdev, self.seed = n_samples, stdev, seed
        self.batch_size = most_rows(model, batch_size)

    def attribute(self, points: Points) -> tuple[list[Tensor], dict[str, Any]]:
        """Average the gradients of noisy copies of each example.

        Args:
            points: The explained scalars as a function of what was read.

        Returns:
            The mean gradients, with their signs, and no extras.
        """
        method = captum.attr.NoiseTunnel(captum.attr.Saliency(points.scalar))

        def run(at: _Values, group: Group) -> Any:
            with seeded(self.seed):
                return method.attribute(
                    at,
                    nt_type="smoothgrad",
                    nt_samples=self.n_samples,
                    nt_samples_batch_size=self.batch_size,
                    stdevs=tuple(self.stdev * _range(point) for point in at),
                    abs=False,
                    additional_forward_args=group,
                )

        return points.map(run, alone=True), {}


class IntegratedGradients(_Gradients):
    """Gradients along the way from a baseline, times that way; they add up.

    Scores sum to the output less that of the baseline, but for the error of the
    quadrature, ``meta["convergence_delta"]``, one for each example, which is shown, and
    warned of where it is large. Padding stays as it is on the way.

    Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365.
    """

    method = "integrated_gradients"

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any = None,
        *,
        n_steps: int = 50,
        baseline: Any = "zero",
        wrt: str | Sequence[str] | None = None,
        batch_size: int = 32,
    ) -> None:
        """Remember the model, and the way to integrate along.

        Args:
            model: Any module; it is left as it was.
            tokenizer: Knows the tokens that ``baseline`` names, and which are special:
                these stay. Defaults to ``None``: nothing is special.
            n_steps: Points of the Gauss-Legendre quadrature. Defaults to ``50``.
            baseline: Where the way starts: ``"zero"``; ``"pad"``, ``"mask"``, ``"unk"``
                or an id, for what is read of a text of this token alone; or a tensor
                that broadcasts to what is read. Defaults to ``"zero"``.
            wrt: As for ``Saliency``.
            batch_size: How many points are run at a time, at least one for each example
                of the batch. Defaults to ``32``.
        """
        super().__init__(model, wrt, norm="sum")
        check_number("n_steps", n_steps, least=1, whole=True)
        check_number("batch_size", batch_size, least=1, whole=True)
        self.tokenizer, self.baseline = tokenizer, baseline
        self.n_steps, self.batch_size = n_steps, most_rows(model, batch_size)

    def attribute(self, points: Points) -> tuple[list[Tensor], dict[str, Any]]:
        """Integrate the gradients of a batch.

        Args:
            points: The explained scalars as a function of what was read.

        Returns:
            The integrals times the way, and the errors of the quadrature.
        """
        method = captum.attr.IntegratedGradients(points.scalar)
        starts = start_values(points, self.baseline, self.tokenizer)
        deltas = [0.0] * points.call.batch

        def run(at: _Values, group: Group) -> Any:
            found, errors = method.attribute(
                at,
                baselines=tuple(t.detach() for t in points.packed(starts, group)),
                n_steps=self.n_steps,
                internal_batch_size=max(self.batch_size, len(group[0])),
                additional_forward_args=group,
                return_convergence_delta=True,
            )
            for row, error in zip(group[0].tolist(), errors.tolist(), strict=True):
                deltas[row] = error
            return found

        values = points.map(run)
        output = points.selected.scalar
        warn_of_divergence(values, deltas, output, self.n_steps)
        return values, {"convergence_delta": deltas}


def _range(point: Tensor) -> float:
    own = point.detach()
    return float(own.max() - own.min()) if own.numel() else 0.0
