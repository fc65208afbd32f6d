"""A model that travels: by its folder where there is one, else as it is."""

from __future__ import annotations

from functools import cached_property
from os import PathLike
from typing import Any

from torch import nn

from ..errors import ArgumentError
from ..explainers.pipelines import unpacked
from ..support.files import StrPath

__all__ = ["Travelling"]


class Travelling:
    """A model and its tokenizer, loaded where they land if a folder has them.

    Attributes:
        folder: The folder, or None.
        device: Where the model runs; None for where it is.
    """

    def __init__(
        self, model: Any, tokenizer: Any = None, folder: StrPath | None = None
    ) -> None:
        """Remember a model.

        Args:
            model: A folder, a module, a pipeline or a sentence encoder.
            tokenizer: Its tokenizer. Defaults to ``None``: the folder's own.
            folder: What the model was loaded from, if from a folder.
        """
        self.device: str | None = None
        self._given = (model, tokenizer)
        self.folder = None if folder is None else str(folder)
        if isinstance(model, str | PathLike):
            self.folder, self._given = str(model), (None, tokenizer)

    @cached_property
    def pair(self) -> tuple[nn.Module, Any]:
        """The model and its tokenizer.

        Raises:
            ArgumentError: If there is no tokenizer.
        """
        model, tokenizer = self._given
        if model is None:
            # Imports transformers, which what is at hand may do without.
            from ..texts.loading import load_folder  # noqa: PLC0415

            assert self.folder is not None
            model, own = load_folder(self.folder)
            tokenizer = own if tokenizer is None else tokenizer
        else:
            model, tokenizer = unpacked(model, tokenizer)
        if tokenizer is None:
            raise ArgumentError(
                "tokenizer is None, and the data is texts. Pass the model's tokenizer, "
                "or a folder that holds both."
            )
        return (model if self.device is None else model.to(self.device)), tokenizer

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what the folder has."""
        state = {name: own for name, own in vars(self).items() if name != "pair"}
        if self.folder is not None:
            state["_given"] = (None, self._given[1])
        return state
