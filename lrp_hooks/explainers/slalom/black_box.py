"""A model behind an interface: a function of texts, called with words left out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ArgumentError, TextError
from .explanation import SlalomWarning
from .returned import numbers

__all__ = ["BlackBox", "called"]

_PADDING = 0
FEW = 16
"""Log-odds below which all may lie between 0 and 1 by chance."""


class BlackBox(nn.Module):
    """A function of texts as a module that takes ids of words.

    Words are what blanks part; a text is its words with single blanks between them.
    """

    def __init__(self, predict: Callable[[list[str]], Any]) -> None:
        """Remember the function.

        Args:
            predict: From ``N`` texts to log-odds ``[N]``, or logits or
                log-probabilities ``[N, C]``: a tensor, an array or lists.

        Raises:
            ArgumentError: If it cannot be called.
        """
        super().__init__()
        if not callable(predict) or isinstance(predict, nn.Module):
            raise ArgumentError(
                f"predict is a {type(predict).__name__}; it must be a function from a "
                "list of texts to log-odds [N] or logits [N, C]. Pass a module that "
                "takes token ids as the first argument, model."
            )
        self.predict = predict
        self.words: list[str] = [""]
        self._ids: dict[str, int] = {}
        self._warned = False
        self._first: list[int] | None = None  # the shape of what it said first

    def read(self, texts: str | Sequence[str]) -> dict[str, Tensor]:
        """Give each word an id, and begin anew: what is asked next is the first.

        Args:
            texts: A text, or ``B`` of them.

        Returns:
            ``input_ids`` and ``attention_mask``, ``[B, T]``.

        Raises:
            TextError: If one is no text or has no word.
        """
        rows = [texts] if isinstance(texts, str) else []
        if isinstance(texts, Sequence) and not isinstance(texts, str | tuple):
            rows = list(texts)
        if not rows or not all(isinstance(row, str) and row.split() for row in rows):
            raise TextError(
                "inputs must be a text, or a list of texts, each with a word in it; "
                f"got a {type(texts).__name__}, {str(texts)[:80]!r}. predict takes no "
                "pairs and no token ids."
            )
        self._first = None
        ids = [torch.tensor([self._id(w) for w in row.split()]) for row in rows]
        padded = nn.utils.rnn.pad_sequence(ids, True, _PADDING)
        return {
            "input_ids": padded,
            "attention_mask": (padded != _PADDING).long(),
        }

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor:
        """Ask the function.

        Args:
            input_ids: Ids of words, ``[N, L]``.
            attention_mask: Unused: no sequence that is asked for is padded.

        Returns:
            What it says, ``[N]`` or ``[N, C]`` in float64.

        Raises:
            ArgumentError: If it says something else.
        """
        texts = [" ".join(self.words[i] for i in row) for row in input_ids.tolist()]
        said = numbers(
            "predict",
            self.predict(texts),
            "It must return log-odds [N] or logits [N, C].",
        )
        if said.dim() not in {1, 2} or len(said) != len(texts):
            raise ArgumentError(
                f"predict returned the shape {list(said.shape)} for {len(texts)} "
                f"texts; it must return log-odds [{len(texts)}] or logits "
                f"[{len(texts)}, C]."
            )
        self._check_classes(said)
        self._warn_of_probabilities(said)
        return said

    def _check_classes(self, said: Tensor) -> None:
        """Refuse other classes than those of the first answer.

        Raises:
            ArgumentError: If there are more or fewer.
        """
        shape = list(said.shape)
        if self._first is None:
            self._first = shape
        if math.prod(shape[1:]) != math.prod(self._first[1:]):
            raise ArgumentError(
                f"predict returned the shape {shape}, and {self._first} at first; it "
                "must return log-odds [N] in every call, or logits [N, C] of the same "
                "classes."
            )

    def _warn_of_probabilities(self, said: Tensor) -> None:
        """Say so where what should be log-odds or logits looks like probabilities."""
        inside = bool(((said >= 0) & (said <= 1)).all()) and len(said) > 1
        sums = said.dim() == 2 and said.shape[1] > 1
        if self._warned or not inside:
            return
        if bool((said.sum(1) - 1).abs().max() < 1e-3) if sums else len(said) >= FEW:
            self._warned = True
            warnings.warn(
                "predict returned numbers from 0 to 1"
                f"{' that sum to 1' * sums}, as probabilities do; it should return "
                "log-odds [N], or logits or log-probabilities [N, C], of which the "
                "surrogate is additive. Return torch.log(probabilities), or "
                "torch.logit(probability).",
                SlalomWarning,
                stacklevel=2,
            )

    def _id(self, word: str) -> int:
        if word not in self._ids:
            self._ids[word] = len(self.words)
            self.words.append(word)
        return self._ids[word]


def called(
    model: nn.Module | None,
    tokenizer: Any,
    predict: Callable[[list[str]], Any] | None,
) -> Any:
    """Return what is called.

    Args:
        model: A module that takes token ids, or ``None``.
        tokenizer: Its tokenizer, or ``None``.
        predict: A function of texts, or ``None``.

    Returns:
        The model, or the function as one.

    Raises:
        ArgumentError: If that is not just one thing.
    """
    if (model is None) == (predict is None):
        came = "neither" if model is None else "both"
        raise ArgumentError(
            f"{came} of model and predict came; give one: a module that takes token "
            "ids, or a function from a list of texts to log-odds."
        )
    if predict is None:
        return model
    if tokenizer is not None:
        raise ArgumentError(
            "predict takes texts, of which words are left out; leave tokenizer out."
        )
    return BlackBox(predict)
