"""What explanations by plain gradients share: where, and how they become scores."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.backward import telling_overwritten
from ..attribution.finite import check_relevance
from ..attribution.inputs import Call
from ..attribution.passes import prepared
from ..attribution.places import laid_out, seen_axes
from ..attribution.readable import is_plain
from ..engine.subject import Subject
from ..errors import ArgumentError
from ..results.explanation import Explanation
from .base import Explainer, check_option
from .points import Points

__all__ = ["NORMS", "GradientMethod"]

NORMS = ("l2", "l1", "sum")


class GradientMethod(Explainer):
    """Base of the methods that take gradients where ``LRP`` reads relevance."""

    method: str

    def __init__(
        self,
        model: nn.Module,
        wrt: str | Sequence[str] | None,
        norm: str,
        signed: bool | None = None,
    ) -> None:
        """Remember where gradients are taken, and how they become scores.

        Args:
            model: Any module.
            wrt: Where gradients are taken.
            norm: ``"l2"``, ``"l1"`` or ``"sum"`` over what a place has.
            signed: Whether scores have the sign of the sum. Defaults to ``None``: only
                where they are the sum.

        Raises:
            ArgumentError: If an option has a value that does not exist.
        """
        super().__init__(model)
        check_option(self, "norm", norm, NORMS)
        if not (signed is None or isinstance(signed, bool)):
            raise ArgumentError(
                f"signed={signed!r} must be True, False, or None: where the sum has it."
            )
        self.wrt, self.norm, self.signed = wrt, norm, signed

    @property
    def sums(self) -> bool:
        """Whether scores are sums, rather than sizes."""
        return self.norm == "sum" and self.signed is not False

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
            with telling_overwritten():
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
        return laid_out(self._over(values, left), axes)

    def _over(self, values: Tensor, left: list[int]) -> Tensor:
        """Make one number of all that the axes hold."""
        summed = values.sum(left) if left else values
        if self.norm == "sum":
            return summed.abs() if self.signed is False else summed
        order = 1 if self.norm == "l1" else 2
        size = values.abs()
        if left:
            size = torch.linalg.vector_norm(values, order, dim=left)
        return size * summed.sign() if self.signed else size
