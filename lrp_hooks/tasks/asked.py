"""A question as it came, and as any explainer takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..attribution.inputs import advising
from ..attribution.passes import prepared
from ..attribution.readout import Contrast
from ..attribution.sharing import run_plain
from ..engine.nested import first_tensor
from ..engine.subject import Subject
from ..errors import ArgumentError, TargetError
from ..texts.encoding import Encoded
from .kinds import Task

__all__ = ["Asked", "Posed", "by_name"]

_REFUSALS = (ValueError, RuntimeError, TypeError, LookupError, AttributeError)


@dataclass(frozen=True)
class Posed:
    """A question that any explainer takes.

    Attributes:
        batch: What the model is called with.
        encoded: The same with its tokens, where they are known.
        target: What is explained.
        task: What the model's output means; None where nothing says so.
        read: The inputs that are read, where these are several.
    """

    batch: Any
    encoded: Encoded | None
    target: Any
    task: Task | None
    read: tuple[str, ...] = ()


def by_name(target: Any, read: Callable[[str], int]) -> Any:
    """Put numbers in place of names.

    Args:
        target: A target; of its parts, those that are strings are names.
        read: Finds the number of a name.

    Returns:
        The target as explainers take it.
    """
    if isinstance(target, Contrast):
        return Contrast(by_name(target.a, read), by_name(target.b, read))
    if isinstance(target, list | tuple):
        return [by_name(each, read) for each in target]
    return read(target) if isinstance(target, str) else target


@dataclass(frozen=True)
class Asked:
    """A question as it came.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer, or None.
        batch: What the model is called with.
        encoded: The same with its tokens, where they are known.
        target: See `explain`.
    """

    model: nn.Module
    tokenizer: Any
    batch: Any
    encoded: Encoded | None
    target: Any

    @cached_property
    def output(self) -> Any:
        """What the model returns."""
        with prepared(Subject(self.model), self.batch) as call:
            with advising(call), torch.no_grad():
                given = call.fresh()
                try:
                    return run_plain(self.model, given.args, given.kwargs)
                except _REFUSALS as error:
                    towers = hasattr(self.model, "get_text_features")
                    both = "both of what it compares, such as (pixel values, text)"
                    raise ArgumentError(
                        f"{type(self.model).__name__} cannot be run on these inputs: "
                        f"{error}. Pass {both if towers else 'what it was made for'}."
                    ) from error

    @property
    def ids(self) -> Tensor | None:
        """The token ids, or the first tensor that the model is called with."""
        named = isinstance(self.batch, Mapping) and "input_ids" in self.batch
        return first_tensor(self.batch["input_ids"] if named else self.batch)

    @property
    def main(self) -> Tensor | None:
        """The input that the model names as its own, or the first tensor."""
        name = getattr(self.model, "main_input_name", None)
        named = isinstance(self.batch, Mapping) and name in self.batch
        return first_tensor(self.batch[name] if named else self.batch)

    @property
    def rows(self) -> int:
        """How many examples there are."""
        return 1 if self.main is None else len(self.main)

    @property
    def reads_text(self) -> bool:
        """Whether the main input is token ids."""
        return self.main is not None and not self.main.is_floating_point()

    @property
    def has_mask(self) -> bool:
        """Whether a mask stands in the text, for a model that reads on either side."""
        mask = getattr(self.tokenizer, "mask_token_id", None)
        config: Any = getattr(self.model, "config", None)
        kinds = ("is_decoder", "is_encoder_decoder")
        one_way = any(getattr(config, kind, False) for kind in kinds)
        ids = self.ids
        return (
            mask is not None
            and not one_way
            and ids is not None
            and not ids.is_floating_point()
            and bool((ids == mask).any())
        )

    def field(self, name: str) -> Tensor | None:
        """Return a tensor of the output by name, or None where there is none."""
        output = self.output
        named = isinstance(output, Mapping)
        value = output.get(name) if named else getattr(output, name, None)
        return value if isinstance(value, Tensor) else None

    def each(self, wanted: Any) -> list[Any]:
        """Give each example its own target.

        Args:
            wanted: A target of one example, or a list of one for each.

        Returns:
            One for each example.

        Raises:
            TargetError: If a list has another length.
        """
        batch = self.rows
        if hasattr(wanted, "__array__"):
            wanted = torch.as_tensor(wanted).tolist()
        if not isinstance(wanted, list):
            return [wanted] * batch
        if len(wanted) != batch:
            raise TargetError(
                f"target has {len(wanted)} entries for {batch} examples; pass one for "
                "all, or one for each."
            )
        return wanted

    def free(self, row: int) -> list[int]:
        """List the positions of an example that hold no padding or special token.

        Args:
            row: Which example.

        Returns:
            Their numbers.

        Raises:
            TargetError: If nothing tells special tokens from others.
        """
        if self.encoded is None:
            raise TargetError(
                "the target is to be found among the tokens of the text, but without "
                "tokenizer= special ones such as [SEP] cannot be told from them. Pass "
                "the tokenizer, or a target with its position."
            )
        flags = self.encoded.special[row]
        return [place for place, special in enumerate(flags) if not special]

    def posed(self, target: Any, task: Task | None) -> Posed:
        """Return the question with a target that explainers take."""
        return Posed(self.batch, self.encoded, target, task)
