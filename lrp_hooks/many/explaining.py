"""What a worker does: explains the rows of a portion, and writes them to their file."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..attribution.classes import label_id
from ..attribution.rows import most_rows
from ..errors import LrpHooksWarning, NonFiniteError, TargetError, TextError
from ..explainers.explain import answer, asked
from ..explainers.lrp import keeping_instrumented
from ..texts.listing import is_missing
from .asked import ANSWER, CALLS, Asked
from .batches import batches, lengths
from .data import Portion
from .models import Travelling
from .records import Record, failed, of_batch, of_matrix, write
from .warned import Warned, warned

__all__ = ["Done", "Explaining", "part_path"]

OF_A_TEXT = (TextError, TargetError, NonFiniteError)
"""Errors that say that a text cannot be explained, and nothing of the others."""
OF_MEMORY = (MemoryError, torch.OutOfMemoryError)


def part_path(folder: str | Path, number: int) -> Path:
    """Name the file of a portion; names sort as portions do.

    Args:
        folder: Of all.
        number: Of the portion.

    Returns:
        The path.
    """
    return Path(folder) / f"{number:07d}.parquet"


@dataclass(frozen=True)
class Done:
    """What became of a portion.

    Attributes:
        texts: How many it had.
        failed: How many of them could not be explained.
        warned: What was warned of.
    """

    texts: int
    failed: int
    warned: Sequence[Warned]


@dataclass
class Explaining(AbstractContextManager["Explaining"]):
    """Explains portions; the model stays instrumented from the first to the last.

    Attributes:
        model: The model and its tokenizer.
        asked: What to do.
        folder: Where files go.
    """

    model: Travelling
    asked: Asked
    folder: str
    # Calls may come from another thread than the one that enters.
    _context: Context | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Explaining:
        """Load the model, and let it stay instrumented."""
        self._context = copy_context()
        self._context.run(self._stack.enter_context, keeping_instrumented())
        _ = self.model.pair
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the model as it was."""
        assert self._context is not None
        self._context.run(self._stack.close)

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what each process has of its own."""
        return {**vars(self), "_context": None, "_stack": ExitStack()}

    def __call__(self, portion: Portion) -> Done:
        """Explain a portion, and write what is found.

        Args:
            portion: The rows.

        Returns:
            What became of it.
        """
        with warned() as found:
            records = (self._context or copy_context()).run(self.records, portion.rows)
        write(
            part_path(self.folder, portion.number),
            portion.start,
            records,
            dtype=_dtype(self.model.pair[0]),
            deep=self.asked.is_deep,
            digest=portion.digest,
        )
        bad = sum(record.get("error") is not None for record in records)
        return Done(len(records), bad, found)

    def records(self, rows: Sequence[Any]) -> list[Record]:
        """Explain rows.

        Args:
            rows: Columns by name, for each.

        Returns:
            A record for each.
        """
        model, tokenizer = self.model.pair
        texts = [self._text(row) for row in rows]
        if self.asked.is_deep:
            groups = [[n] for n in range(len(rows))]
        else:
            most = most_rows(model, self.asked.batch_size or len(rows))
            bound = self.asked.tokens if self.asked.batch_size is None else None
            counts = lengths(tokenizer, texts)
            groups = batches(counts, bound, most)
        found: dict[int, Record] = {}
        for group in groups:
            own = [rows[n] for n in group]
            found |= zip(
                group, self._tried([texts[n] for n in group], own), strict=True
            )
        return [found[n] for n in range(len(rows))]

    def _text(self, row: Any) -> Any:
        """Return the text, or the pair of texts, of a row."""
        values = tuple(row.get(name) for name in self.asked.text)
        return values if len(values) > 1 else values[0]

    def _tried(self, texts: list[Any], rows: list[Any]) -> list[Record]:
        """Explain texts together or, where that fails, each half of them."""
        try:
            return self._explained(texts, rows)
        except OF_MEMORY as error:
            why = f"out of memory, also alone: {str(error) or type(error).__name__}"
            _warn_of_memory(texts)
        except OF_A_TEXT as error:
            self._check_target(error)
            why = str(error)
        # Out of the handler, since an exception keeps what filled the memory.
        if len(texts) == 1:
            return [failed(why)]
        half = len(texts) // 2
        return [
            *self._tried(texts[:half], rows[:half]),
            *self._tried(texts[half:], rows[half:]),
        ]

    def _check_target(self, error: Exception) -> None:
        """Let an error pass on that every text would have."""
        if isinstance(error, TargetError) and self.asked.target is not None:
            raise error

    def _explained(self, texts: list[Any], rows: list[Any]) -> list[Record]:
        for text in texts:
            _check_text(text, self.asked.is_deep)
        if self.asked.is_deep:
            return [self._matrix(texts[0], rows[0])]
        model, tokenizer = self.model.pair
        options = dict(self.asked.options)
        given = {name: options.pop(name, None) for name in ("stride", "decoder")}
        target = self._target(model, rows)
        question = asked(model, texts, tokenizer, target, **given)
        return of_batch(
            answer(question, self.asked.method, options, decoded=True, pieces=False)
        )

    def _target(self, model: nn.Module, rows: list[Any]) -> Any:
        if self.asked.label is None:
            return self.asked.target
        return [_class(model, row.get(self.asked.label)) for row in rows]

    def _matrix(self, prompt: Any, row: Any) -> Record:
        """Explain what is written after a prompt."""
        options = dict(self.asked.options)
        beside = {
            name: row[name]
            for name in self.asked.columns[1:]
            if not is_missing(row.get(name))
        }
        if {"answer", "continuation"} & beside.keys():
            options.pop("max_new_tokens", None)  # nothing is written
        found = CALLS[self.asked.method](
            *self.model.pair, prompt, **{**options, **beside}
        )
        if self.asked.method == ANSWER:
            named, targets = (
                [p.text for p in each] for each in (found.sources, found.spans)
            )
        else:
            named, targets = found.tokens[0], found.generated
        return of_matrix(named, found.scores, found.output, targets, found.ledger)


def _dtype(model: nn.Module) -> torch.dtype:
    return next((p.dtype for p in model.parameters()), torch.float32)


def _warn_of_memory(texts: list[Any]) -> None:
    """Say which batch is too large, where it can be made smaller."""
    if len(texts) > 1:
        longest = repr(texts[-1])[:40]
        warnings.warn(
            f"a batch of {len(texts)} texts, the longest of which is {longest}, fills "
            "the memory, and is halved. Lower tokens_per_batch or batch_size.",
            LrpHooksWarning,
            stacklevel=2,
        )


def _check_text(text: Any, chats: bool) -> None:
    """Refuse what is no text.

    Raises:
        TextError: If it is something else.
    """
    pieces = text if isinstance(text, tuple) else (text,)
    if not all(isinstance(piece, str) for piece in pieces) and not (
        chats and isinstance(text, list)
    ):
        raise TextError(f"the text is {text!r:.40}, which is no string.")


def _class(model: nn.Module, label: Any) -> int:
    """Return the class that a label is the name or the number of.

    Raises:
        TargetError: If there is no label.
    """
    found = label_id(model, label) if isinstance(label, str) else None
    if found is not None:
        return found
    if isinstance(label, str) and label.isascii() and label.isdecimal():
        return int(label)
    whole = not is_missing(label) and not isinstance(label, str | bool)
    if not whole or label % 1:
        raise TargetError(
            f"the label is {label!r:.40}, which is no name or number of a class."
        )
    return int(label)
