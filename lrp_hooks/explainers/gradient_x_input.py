"""Gradient x Input: the rule set that changes nothing, or the size of its values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import captum.attr
from torch import Tensor, nn

from ..results.explanation import Explanation
from .base import Explainer
from .gradient_method import GradientMethod
from .lrp import LRP
from .points import Group, Points

__all__ = ["GradientXInput"]


class GradientXInput(Explainer):
    """The gradient times the input: the rule set that changes nothing.

    Its ledger's error is the honest leak: how far the network is from linear. Scores
    without a sign account for nothing, and have no ledger.
    """

    reads_sides = True

    def __init__(
        self,
        model: nn.Module,
        wrt: str | Sequence[str] | None = None,
        *,
        norm: str = "sum",
        signed: bool | None = None,
    ) -> None:
        """Remember the model, and how values become scores.

        Args:
            model: Any module; it is instrumented during a call and restored after it.
            wrt: Where relevance is read, as for ``LRP``.
            norm: How the dimensions of an embedding, or the channels of an image,
                become one number: ``"sum"``, ``"l2"`` or ``"l1"``. Defaults to
                ``"sum"``; the baselines that DecompX is compared with have ``"l2"``.
            signed: Whether scores have the sign of the sum. Defaults to ``None``: the
                sum has it, and norms do not.
        """
        super().__init__(model)
        self.wrt = wrt
        self._sized = _GradientXInput(model, wrt, norm, signed)

    def __call__(self, inputs: Any, target: Any = None) -> Explanation:
        """Explain one output of each example.

        Args:
            inputs: A tensor, a tuple of tensors or a mapping of keyword arguments.
            target: As ``Instrumentation.attribute`` takes it.

        Returns:
            Gradient x Input; of the signed sum a ``Relevance``, with the ledger of the
            whole output.
        """
        if not self._sized.sums:
            return self._sized(inputs, target)
        relevance = LRP(self.model, rules="gradient", wrt=self.wrt)(inputs, target)
        relevance.method = "gradient_x_input"
        del relevance.meta["rules"]
        return relevance


class _GradientXInput(GradientMethod):
    """Gradient x Input whose scores are a size."""

    method = "gradient_x_input"

    def attribute(self, points: Points) -> tuple[list[Tensor], dict[str, Any]]:
        method = captum.attr.InputXGradient(points.scalar)

        def run(at: tuple[Tensor, ...], group: Group) -> Any:
            return method.attribute(at, additional_forward_args=group)

        return points.map(run), {}
