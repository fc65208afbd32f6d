"""The base of the explainers that only call the model, with perturbed inputs."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.inputs import Call
from ..attribution.passes import prepared
from ..attribution.rows import most_rows
from ..engine.subject import Subject
from ..errors import ArgumentError
from ..results.explanation import Explanation
from .base import Explainer
from .calls import check_number, run
from .features import DELETE, filler_of, find_features
from .game import Game

__all__ = ["Perturbing"]


class Perturbing(Explainer):
    """Base of the methods that only call the model.

    Features are tokens, elements of vectors, positions of embeddings, or patches of
    images, whose pixels share their patch's score evenly, so that ``.patches()`` and
    any sum give back what was measured. Special tokens and padding are never perturbed
    and score 0. A coalition of features is shown to the model once.
    """

    method: str

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        replace_with: Any,
        patch: int | None,
        batch_size: int,
    ) -> None:
        """Check the options that all of them share; see ``LeaveOneOut``.

        Args:
            model: The model.
            tokenizer: Tells special tokens.
            replace_with: What is put in the place of a feature.
            patch: The side of an image's patches.
            batch_size: How many perturbed inputs are run at a time.

        Raises:
            ArgumentError: If an option has a value that is not allowed.
        """
        super().__init__(model)
        if tokenizer is not None and not hasattr(tokenizer, "all_special_ids"):
            raise ArgumentError(
                f"tokenizer is a {type(tokenizer).__name__} without all_special_ids. "
                "Pass a Hugging Face tokenizer, or None if nothing is special."
            )
        if patch is not None:
            check_number("patch", patch, least=1, whole=True)
        check_number("batch_size", batch_size, least=1, whole=True)
        self.tokenizer, self.replace_with = tokenizer, replace_with
        self.patch, self.batch_size = patch, most_rows(model, batch_size)

    @abstractmethod
    def scores(self, game: Game) -> Tensor:
        """Score the features of one example, of which there are at least two.

        Args:
            game: The output for every coalition of them.

        Returns:
            One score a feature, d in all.
        """

    def __call__(self, inputs: Any, target: Any = None) -> Explanation:
        """Explain one output of each example.

        Args:
            inputs: Token ids [B, T], or [B, C, T] of choices, vectors [B, N],
                embeddings [B, T, D] or images [B, C, H, W]; a tensor, a tuple of
                tensors or a mapping of keyword arguments.
            target: As ``Instrumentation.attribute`` takes it; the arg-max is that of
                the unperturbed input.

        Returns:
            The explanation. ``meta["model_calls"]`` counts the sequences that the model
            was shown.
        """
        subject = Subject(self.model)
        with prepared(subject, inputs) as call:
            features = find_features(self.model, call, self.tokenizer, self.patch)
            filler = self._filler(subject, call)
            selected = run(subject, call, target)
            games = [
                Game(subject, call, features, filler, selected, row, self.batch_size)
                for row in range(call.batch)
            ]
            found = [
                features.shared(row, self._scores(game).double())
                for row, game in enumerate(games)
            ]
        output = selected.scalar
        dtype = torch.promote_types(output.dtype, torch.float32)
        return Explanation(
            scores=torch.stack(found).to(output.device, dtype),
            output=output,
            target=selected.target,
            method=self.method,
            attended=features.attended,
            meta={
                "model": type(self.model).__name__,
                "replace_with": _described(filler),
                "model_calls": sum(game.shown for game in games),
            },
        )

    def _scores(self, game: Game) -> Tensor:
        # All of these methods agree on a single feature, but for Lime's penalty.
        return -game(torch.zeros(1, 1)) if game.size == 1 else self.scores(game)

    def _filler(self, subject: Subject, call: Call) -> Tensor | None:
        tokens = not call.main.is_floating_point()
        if (
            tokens
            and isinstance(self.replace_with, str)
            and self.replace_with == DELETE
        ):
            if call.has_choices:
                raise ArgumentError(
                    "replace_with='delete' shortens one of several choices, which have "
                    "one length; replace tokens by an id instead."
                )
            return None
        return filler_of(
            subject, call, self.tokenizer, "replace_with", self.replace_with
        )


def _described(filler: Tensor | None) -> Any:
    """Return what took the place of features, for the record."""
    if filler is None:
        return DELETE
    return filler.item() if filler.ndim == 0 else list(filler.shape)
