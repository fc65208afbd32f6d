"""What of a model's output is explained: a label, the next token, or a masked one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.readout import find_logits, label_ids
from ..errors import TargetError, TextError
from ..support.suggest import did_you_mean, whatever_case
from ..texts.encoding import is_language_model
from ..texts.prediction import Prediction, predict

__all__ = ["Targets"]


class Targets:
    """The outputs of a model by the names that a reader knows them by.

    Attributes:
        labels: The labels of a classifier; none for a language model.
        speaks: Whether the outputs are tokens.
        mask: The token that stands for the one to predict, in a masked language model.
    """

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        """Look at the model.

        Args:
            model: A Hugging Face model.
            tokenizer: Its tokenizer.
        """
        self._model, self._tokenizer = model, tokenizer
        self.speaks = is_language_model(model)
        self.labels = [] if self.speaks else list(label_ids(model))
        self._vocabulary = dict(tokenizer.get_vocab()) if self.speaks else {}
        writes = getattr(model, "can_generate", lambda: True)()
        self.mask = None if writes or not self.speaks else tokenizer.mask_token

    def predict(self, batch: Mapping[str, Tensor]) -> Prediction | None:
        """Run the model on one text.

        Args:
            batch: What the model takes.

        Returns:
            The most probable label or token; ``None`` if it chooses among nothing.
        """
        if self.mask is None:
            return predict(self._model, self._tokenizer, batch)
        place = self._place(batch)
        with torch.no_grad():
            logits = find_logits(self._model(**batch))[0, place]
        best = int(logits.argmax())
        name = str(self._tokenizer.convert_ids_to_tokens(best))
        return Prediction(name, float(logits.double().softmax(-1)[best]))

    def read(self, name: str | None, batch: Mapping[str, Tensor]) -> Any:
        """Find what a name stands for.

        Args:
            name: A label, a token, the text of one, or a number; ``None`` for the
                prediction.
            batch: What the model takes.

        Returns:
            A target as `explain` takes it.
        """
        if self.mask is not None:
            prediction = self.predict(batch)
            assert prediction is not None
            name = prediction.label if name is None else name
            return _AtPlace(self._place(batch), self._token(name), name)
        if name is None or whatever_case(name, self.labels) is not None:
            return name
        if self.speaks:
            return self._token(name)
        return _number(name, name)

    def _place(self, batch: Mapping[str, Tensor]) -> int:
        """Return the first masked position.

        Raises:
            TextError: If there is none.
        """
        places = (batch["input_ids"][0] == self._tokenizer.mask_token_id).nonzero()
        if not len(places):
            raise TextError(
                f"the text has no {self.mask}: this model says what stands in its "
                f"place. Write {self.mask} where it is to guess."
            )
        return int(places[0])

    def _token(self, name: str) -> int:
        """Return the id of a token, or of a text that is a single one.

        Raises:
            TargetError: If it is several tokens, or an unknown one.
        """
        if name in self._vocabulary:
            return int(self._vocabulary[name])
        ids = self._tokenizer(name, add_special_tokens=False)["input_ids"]
        if len(ids) == 1 and ids[0] not in self._tokenizer.all_special_ids:
            return int(ids[0])
        if _number(name, None) in self._vocabulary.values():
            return int(name)
        pieces = self._tokenizer.convert_ids_to_tokens(ids[:8])
        raise TargetError(
            f"the target {name!r} is no single known token of this model, but "
            f"{', '.join(map(repr, pieces)) or 'none'}. Take one token."
            f"{did_you_mean(name, self._vocabulary)}"
        )


class _AtPlace:
    """The logit of a token at a position; a target function, named after the token."""

    def __init__(self, place: int, token: int, name: str) -> None:
        self._place, self._token, self.__name__ = place, token, name

    def __call__(self, output: Any) -> Tensor:
        return find_logits(output)[:, self._place, self._token]


def _number(name: str, otherwise: Any) -> Any:
    """Return a class or token by its number."""
    return int(name) if name.isascii() and name.isdecimal() else otherwise
