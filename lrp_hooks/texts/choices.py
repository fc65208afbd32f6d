"""Multiple choice: a prompt with each of several continuations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..errors import TextError
from .encoding import Encoded, encode

__all__ = [
    "Choices",
    "as_choices",
    "check_chooses",
    "check_chosen_among",
    "encode_choices",
]

Choices = tuple[str, list[str]]
"""A prompt and the texts to choose among."""


def as_choices(inputs: object) -> list[Choices] | None:
    """Tell prompts with choices from other inputs.

    Args:
        inputs: What a caller wants explained: ``(prompt, [choice, ...])``, or a list
            of such.

    Returns:
        The prompts with their choices, or None if the inputs are none.

    Raises:
        TextError: If prompts have different numbers of choices, or fewer than two.
    """
    several: list[Any] = inputs if isinstance(inputs, list) else [inputs]
    if not several or not all(map(_is_choice, several)):
        return None
    counts = {len(choices) for _, choices in several}
    if len(counts) > 1 or min(counts) < 2:
        raise TextError(
            f"the prompts have {', '.join(map(str, sorted(counts)))} choices; pass as "
            "many for each, two at least."
        )
    return several


def _is_choice(value: object) -> bool:
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    prompt, choices = value
    listed = isinstance(choices, list) and bool(choices)
    return (
        isinstance(prompt, str) and listed and all(isinstance(c, str) for c in choices)
    )


def check_chosen_among(model: nn.Module, texts: object) -> None:
    """Refuse a text without choices, for a model that chooses.

    Args:
        model: Any module.
        texts: Texts and pairs, or None where the inputs are something else.

    Raises:
        TextError: If the model's class says that it chooses among texts.
    """
    kinds = [kind.__name__ for kind in type(model).__mro__]
    if texts is not None and any("ForMultipleChoice" in kind for kind in kinds):
        raise TextError(
            f"the inputs are a text or a pair, but a {kinds[0]} chooses among texts. "
            "Pass (prompt, [choice, choice, ...]), the choices in a list of strings."
        )


def check_chooses(model: nn.Module) -> None:
    """Refuse a model that reads one text at a time.

    Args:
        model: Any module; only the classes of transformers say what they are.

    Raises:
        TextError: If its class says that it does something else.
    """
    kinds = [kind.__name__ for kind in type(model).__mro__]
    named = [name for name in kinds if "For" in name and hasattr(model, "config")]
    if named and not any("ForMultipleChoice" in name for name in named):
        raise TextError(
            f"the inputs are a prompt with choices, but a {kinds[0]} does not choose "
            "among texts. Pass a text, or a pair (text, text_pair)."
        )


def encode_choices(
    model: nn.Module, tokenizer: Any, prompts: Sequence[Choices]
) -> Encoded:
    """Tokenise each prompt with each of its choices.

    Args:
        model: The model that is to take them.
        tokenizer: A Hugging Face tokenizer.
        prompts: As many choices for each.

    Returns:
        The batch, ``[B, C, T]``; its tokens are those of ``B * C`` pairs.
    """
    n_choices = len(prompts[0][1])
    pairs = [(prompt, choice) for prompt, choices in prompts for choice in choices]
    found = encode(model, tokenizer, pairs)

    def folded(value: Tensor) -> Tensor:
        return value.reshape(len(prompts), n_choices, *value.shape[1:])

    batch = found.batch
    if isinstance(batch, Tensor):
        folds: Any = folded(batch)
    else:
        folds = {name: folded(value) for name, value in batch.items()}
    return replace(found, batch=folds, choices=n_choices)
