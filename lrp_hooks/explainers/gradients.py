"""Explanations by plain gradients at the input embeddings, with Captum.

On an instrumented model they are relevance gradients, as those of every other tool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import captum.attr
from torch import Tensor, nn

from ..attribution.rows import most_rows
from .baselines import start_values
from .calls import check_number, seeded
from .convergence import warn_of_divergence
from .gradient_method import GradientMethod
from .points import Group, Points

__all__ = ["IntegratedGradients", "Saliency", "SmoothGrad"]

_Values = tuple[Tensor, ...]


class Saliency(GradientMethod):
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


class SmoothGrad(GradientMethod):
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


class IntegratedGradients(GradientMethod):
    """Gradients along the way from a baseline, times that way; they add up.

    Signed sums add up to the output less that of the baseline, but for the error of the
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
        norm: str = "sum",
        signed: bool | None = None,
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
            norm: As for ``GradientXInput``. Defaults to ``"sum"``, which adds up.
            signed: As for ``GradientXInput``.
        """
        super().__init__(model, wrt, norm, signed)
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
        return values, {"convergence_delta": deltas, "additive": self.sums}


def _range(point: Tensor) -> float:
    own = point.detach()
    return float(own.max() - own.min()) if own.numel() else 0.0
