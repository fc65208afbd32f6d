"""Scores that mean nothing, for other methods to be compared with."""

from __future__ import annotations

import zlib
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.passes import prepared
from ..engine.subject import Subject
from ..results.explanation import Explanation
from .base import Explainer
from .calls import attended, check_number, real_tokens, run

__all__ = ["RandomBaseline"]


class RandomBaseline(Explainer):
    """Standard normal scores, 0 at padding.

    They are drawn from the seed and the example itself: whatever the batch, an example
    has the same scores, and other examples have others.
    """

    class_specific = False

    def __init__(self, model: nn.Module, seed: int = 0) -> None:
        """Remember the model and the seed.

        Args:
            model: Any module; it is only called, for the output.
            seed: One seed, one answer. Defaults to ``0``.
        """
        super().__init__(model)
        check_number("seed", seed, least=None, whole=True)
        self.seed = seed

    def __call__(self, inputs: Any, target: Any = None) -> Explanation:
        """Explain nothing about one output of each example.

        Args:
            inputs: A tensor, a tuple of tensors or a mapping of keyword arguments.
            target: As ``Instrumentation.attribute`` takes it.

        Returns:
            The scores: [B, T] for token ids and embeddings, [B, H, W] for images, else
            in the shape of the input.
        """
        subject = Subject(self.model)
        with prepared(subject, inputs) as call:
            selected = run(subject, call, target)
        main, mask = call.main.detach().cpu(), real_tokens(self.model, call)
        shape = {3: main.shape[:2], 4: (len(main), *main.shape[2:])}.get(main.ndim)
        shape = main.shape if call.has_choices else shape
        full = torch.ones(shape or main.shape, dtype=torch.bool)
        kept = full if mask is None else mask.cpu()
        scores = torch.zeros(kept.shape)
        for row, places in enumerate(kept):
            example = main[row] if mask is None else main[row][places]
            scores[row][places] = self._draw(example, int(places.sum()))
        return Explanation(
            scores=scores.to(selected.scalar.device),
            output=selected.scalar,
            target=selected.target,
            method="random_baseline",
            attended=attended(self.model, call),
            meta={
                "model": type(self.model).__name__,
                "model_calls": call.batch,
                "class_specific": self.class_specific,
            },
        )

    def _draw(self, example: Tensor, n: int) -> Tensor:
        content = example.double().numpy().tobytes()
        mixed = zlib.crc32(content, self.seed & 0xFFFFFFFF)
        generator = torch.Generator().manual_seed(mixed)
        return torch.randn(n, generator=generator)
