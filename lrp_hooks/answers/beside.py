"""A prompt with a picture or a sound beside its text, and the answer to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..attribution.instrument import instrument
from ..engine.ruleset import RuleSet
from ..errors import TextError
from ..generation.beside import beside_inputs, lengthened, tokens_of
from ..generation.folding import Clock, folding
from ..generation.model import check_ids, check_length, generated_ids, vocabulary
from .found import Found
from .reading import Reading, read_ids

__all__ = ["Beside", "read_beside"]


@dataclass(frozen=True)
class Beside:
    """What a model is called with.

    Attributes:
        inputs: The whole text but its last token, and what stands beside it.
        names: What is read, the text last.
        shapes: ``{input: (rows, columns)}`` of pictures, in patches.
    """

    inputs: Mapping[str, Tensor]
    names: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]

    def shaped(self, found: Found) -> dict[str, Tensor]:
        """Put patches to their places.

        Args:
            found: What was found, with ``[A, P]`` for each input.

        Returns:
            ``[A, H, W]`` of a picture; of all others ``[A, P]``.
        """
        return {
            name: values.reshape(len(values), *self.shapes.get(name, [-1]))
            for name, values in found.beside.items()
        }


def read_beside(
    model: nn.Module,
    tokenizer: Any,
    given: Mapping[str, Tensor],
    answer: Any,
    max_new_tokens: int | None,
    rules: str | RuleSet,
) -> tuple[Reading, Beside]:
    """Read the answer, or let the model write it.

    Args:
        model: A decoder.
        tokenizer: Its tokenizer.
        given: What a processor made of the prompt.
        answer: What the model is taken to have answered, a text or token ids, or None.
        max_new_tokens: How many tokens the model writes.
        rules: See `explain_answer`.

    Returns:
        Prompt and answer, and what the model is called with.

    Raises:
        TextError: If there is no answer.
    """
    ids = given["input_ids"][0].tolist()
    if answer is None:
        assert max_new_tokens is not None
        check_length(model, len(ids), max_new_tokens)
        with instrument(model, rules):
            pass  # what cannot be explained is refused before the model writes
        written = generated_ids(model, given, max_new_tokens)
        more = written[len(ids) :] if written[: len(ids)] == ids else written
    else:
        more = tokens_of(tokenizer, answer)
    if not more:
        raise TextError("the answer has no token. Pass one, or change the prompt.")
    check_ids(more, vocabulary(model))
    check_length(model, len(ids), len(more))
    inputs, names = lengthened(given, more[:-1]), beside_inputs(given)
    folded = {n: folding(n, given[n], model, given, Clock()) for n in names[:-1]}
    shapes = {n: each.shape for n, each in folded.items() if each.shape is not None}
    return read_ids(tokenizer, ids, more), Beside(inputs, names, shapes)
