"""What of a model's output is explained: a label, the next token, or a masked one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.classes import label_ids
from ..attribution.readout import find_logits
from ..support.suggest import whatever_case
from ..tasks import Task, mask_places, task_of
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
        task = task_of(model)
        self.speaks = task in {Task.NEXT_TOKEN, Task.MASKED_TOKEN}
        self.labels = [] if self.speaks else list(label_ids(model))
        self.mask = tokenizer.mask_token if task is Task.MASKED_TOKEN else None

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
            A target as `explain` takes it; of several masks, the first is meant.
        """
        if self.mask is not None:
            return self._place(batch), name
        if name is None or self.speaks or whatever_case(name, self.labels) is not None:
            return name
        return int(name) if name.isascii() and name.isdecimal() else name

    def _place(self, batch: Mapping[str, Tensor]) -> int:
        return mask_places(self._tokenizer, batch["input_ids"][0])[0]
