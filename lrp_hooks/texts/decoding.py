"""The decoder's side of an encoder-decoder: where it starts, what it has said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ..errors import TextError
from .encoding import check_text, position_limit

__all__ = ["decoder_ids", "decoder_start", "position_limits"]


def decoder_start(model: nn.Module) -> int | None:
    """Find the token that a model's decoder starts with.

    Args:
        model: Any module; only a Hugging Face model says so.

    Returns:
        Its id; None where nothing says it.
    """
    for holder in ("generation_config", "config"):
        settings = getattr(model, holder, None)
        found = getattr(settings, "decoder_start_token_id", None)
        if isinstance(found, int):
            return found
    return None


def position_limits(model: Any) -> tuple[int | None, int | None]:
    """Find how many tokens either side of a model has positions for.

    Args:
        model: An encoder-decoder.

    Returns:
        Those of the encoder and of the decoder, or ``None`` where nothing bounds them.
    """
    return (
        _limit(model, model.get_encoder(), ("max_encoder_position_embeddings",)),
        _limit(
            model,
            model.get_decoder(),
            ("max_decoder_position_embeddings", "max_target_positions"),
        ),
    )


def _limit(model: Any, side: nn.Module, names: Sequence[str]) -> int | None:
    config = getattr(side, "config", model.config)
    named = (getattr(config, name, None) for name in names)
    own = next((limit for limit in named if isinstance(limit, int)), None)
    return position_limit(side) if own is None else own


def decoder_ids(
    model: nn.Module, tokenizer: Any, text: str | None, argument: str
) -> list[int]:
    """Tokenise what a decoder has said so far, behind the token that it starts with.

    The text is read as one of the target language, where the tokenizer tells. Special
    tokens that it puts before a text, such as a language's, stay; those behind it
    would end the text.

    Args:
        model: An encoder-decoder.
        tokenizer: Its Hugging Face tokenizer.
        text: The text; None for nothing yet.
        argument: What the text is called in messages.

    Returns:
        The ids, the decoder's start first.

    Raises:
        TextError: If the text is blank, no valid Unicode or no token at all, or
            nothing says what the decoder starts with.
    """
    start = decoder_start(model)
    if start is None:
        raise TextError(
            f"{type(model).__name__} does not say which token its decoder starts with. "
            "Set model.generation_config.decoder_start_token_id."
        )
    if text is None:
        return [start]
    check_text(text, argument)
    made = tokenizer(
        text_target=text,
        truncation=False,
        return_special_tokens_mask=True,
        verbose=False,
    )
    ids, added = list(made["input_ids"]), list(made["special_tokens_mask"])
    if all(added):
        raise TextError(f"{argument} has no token in it: {text!r:.40}.")
    while added[-1]:
        del ids[-1], added[-1]
    # Of some families the tokenizer adds the start itself.
    return ids if added[0] and ids[0] == start else [start, *ids]
